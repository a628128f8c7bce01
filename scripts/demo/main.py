#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""./demo after the build: the scenario (--once), or the setting to try things in."""
import argparse
import signal
import sys
import time

from setting import Setting
from sockets import Sockets, rss_bytes

import scenario


def print_guide(setting):
    url = f'http://127.0.0.1:{setting.gateway_port}'
    key = f"-H 'X-Api-Key: {setting.key}'"
    print(f"""
  A service makes reports at http://127.0.0.1:{setting.origin_port}; the gateway stands before it:

    {' '.join([f'{setting.build}/{setting.gateway_command[0]}', *setting.gateway_command[1:]])}

  To try in another terminal:

    # without a key: 401; with one, but where it may not go: 403
    curl -i {url}/report?mb=1
    curl -i {key} {url}/stats

    # 300 MB at full speed
    curl -o /dev/null {key} '{url}/report?mb=300'

    # a slow client: watch "in" follow "out"; press Ctrl-C in the middle, and the service stops working on it
    curl -o /dev/null --limit-rate 1M {key} '{url}/report?mb=300'
    curl http://127.0.0.1:{setting.origin_port}/stats

    # events, as they come
    curl -N {key} '{url}/sse?interval_ms=500'

    # an upload that is hashed while it comes; a report that fails half-way: curl says so
    head -c 100000000 /dev/zero | curl -T - {key} {url}/upload
    curl -o /dev/null {key} '{url}/fail?after=5000000'

  Ctrl-C here ends it.
""")


class Tally:
    """Bytes over the gateway's sockets since the start, also over those that have closed."""

    def __init__(self, setting):
        self.setting = setting
        self.sockets = Sockets()
        self.open = {}
        self.closed_in = self.closed_out = 0

    def look(self):
        now = {}
        kernel = streams = 0
        for tcp in self.sockets.list():
            if tcp.peer_port == self.setting.origin_port:
                now[tcp.local_port, tcp.peer_port] = (tcp.received, 0)
            elif tcp.local_port == self.setting.gateway_port:
                now[tcp.local_port, tcp.peer_port] = (0, tcp.sent)
                streams += 1
            else:
                continue
            kernel += tcp.memory
        for pair in self.open.keys() - now.keys():
            self.closed_in += self.open[pair][0]
            self.closed_out += self.open[pair][1]
        self.open = now
        return (self.closed_in + sum(one[0] for one in now.values()),
                self.closed_out + sum(one[1] for one in now.values()), streams, kernel)


def watch(setting):
    tally = Tally(setting)
    second = time.monotonic()
    was_in = was_out = line = 0
    while setting.gateway.poll() is None and setting.origin.poll() is None:
        # Looks often, so that little is missed of a connection that closes.
        time.sleep(0.05)
        bytes_in, bytes_out, streams, kernel = tally.look()
        if time.monotonic() < second + 1:
            continue
        second += 1
        if line % 20 == 0:
            print(f'  {"in MB":>10} {"MB/s":>8} {"out MB":>10} {"MB/s":>8} {"streams":>8} {"RSS MB":>8} {"kernel MB":>10}')
        line += 1
        print(f'  {bytes_in / 1e6:10.1f} {(bytes_in - was_in) / 1e6:8.1f} {bytes_out / 1e6:10.1f} '
              f'{(bytes_out - was_out) / 1e6:8.1f} {streams:8} {rss_bytes(setting.gateway.pid) / 1e6:8.1f} '
              f'{kernel / 1e6:10.2f}', flush=True)
        was_in, was_out = bytes_in, bytes_out
    print('demo: one of the programs has ended by itself', file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    parser.add_argument('--once', action='store_true')
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        setting = Setting(options.build, *(() if options.once else (9000, 8080)))
    except (OSError, RuntimeError) as error:
        print(f'demo: {error}', file=sys.stderr)
        return 1
    try:
        if options.once:
            return scenario.run(setting)
        print_guide(setting)
        return watch(setting)
    except KeyboardInterrupt:
        print()
        return 130 if options.once else 0
    finally:
        setting.end()


if __name__ == '__main__':
    sys.exit(main())
