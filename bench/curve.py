#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How far ahead of a slow reader, against what a fast one costs, for several settings of the pace.

    bench/curve.py [--build build/release] [--rounds 2] [--streams 40]

Runs the bare relay and the gateway between an origin that never ends and its clients, all on this machine, and prints
a table in Markdown. `ahead`: KiB a stream that the origin's peer has acknowledged and the client has not read, after
some seconds at 50 KB/s; `in the client` is the part of it that lies in the client's own receive buffer. `CPU`: seconds
the program runs for 10^9 bytes to one client as fast as it goes. Medians of the rounds. Where there are two processors,
the program is kept to the last one and all else to the others.
"""
import argparse
import array
import fcntl
import multiprocessing
import os
import socket
import statistics
import struct
import subprocess
import termios
import threading
import time

KIB = 1024
LONG = 1 << 44  # the body's declared length: no stream comes to its end
SLOW_READ = 5000
SLOW_EVERY_S = 0.1
SLOW_S = 2.5
WARM_S = 0.3
BULK_S = 1.0
ACKED_AT = 120  # tcpi_bytes_acked in struct tcp_info

NEVER = 4095 << 20  # bytes that no measurement here reaches

# What it is, and slow, fast, chunk (KiB), fast_after (bytes).
RELAY = [
    ('one pace, copied', (16, 1024, 512, NEVER)),
    ('one pace, copied', (32, 1024, 512, NEVER)),
    ('one pace, copied', (128, 1024, 512, NEVER)),
    ('one pace, spliced', (128, 128, 64, 1)),
    ('one pace, spliced', (512, 512, 256, 1)),
    ('one pace, spliced', (1024, 1024, 512, 1)),
    ('adaptive', (16, 1024, 512, 1 << 20)),
    ('adaptive', (32, 256, 128, 1 << 20)),
    ('adaptive', (32, 512, 256, 1 << 20)),
    ('adaptive (default)', (32, 1024, 512, 1 << 20)),
    ('adaptive', (32, 2048, 1024, 1 << 20)),
    ('adaptive', (64, 1024, 512, 1 << 20)),
    ('adaptive', (128, 1024, 512, 1 << 20)),
]
GATEWAY = [
    ('one pace, copied', (32, 1024, 512, NEVER)),
    ('one pace, spliced', (1024, 1024, 512, 1)),
    ('adaptive (default)', (32, 1024, 512, 1 << 20)),
    ('adaptive', (128, 1024, 512, 1 << 20)),
]


def keep_to(last):
    """Our side on the first processors, the program on the last."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(0, cpus[-1:] if last else cpus[:-1])


def origin(listener, ask):
    """Answers every request with bytes for ever; says how many its peers have acknowledged."""
    streams = []

    def serve(conn):
        piece = memoryview(bytes(1 << 20))
        try:
            head = b''
            while b'\r\n\r\n' not in head:
                more = conn.recv(65536)
                if not more:
                    raise ConnectionError
                head += more
            conn.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % LONG)
            while True:
                conn.sendall(piece)
        except OSError:
            pass
        if conn in streams:
            streams.remove(conn)
        conn.close()

    def accept():
        while True:
            conn = listener.accept()[0]
            streams.append(conn)
            threading.Thread(target=serve, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    while ask.poll(None):
        ask.recv()
        acked = 0
        for conn in list(streams):
            try:
                info = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            except OSError:
                continue
            acked += struct.unpack_from('Q', info, ACKED_AT)[0]
        ask.send((len(streams), acked))


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as probe:
        return probe.getsockname()[1]


class Target:
    """The program measured, running."""

    def __init__(self, build, name, setting, upstream):
        slow, fast, chunk, after = setting
        self.port = free_port()
        env = dict(os.environ)
        if name == 'relay':
            env.update(SLOW=str(slow * KIB), FAST=str(fast * KIB), FAST_CHUNK=str(chunk * KIB), FAST_AFTER=str(after))
            argv = [f'{build}/bench/relay', str(self.port), str(upstream)]
        else:
            argv = [f'{build}/cli/weir', 'proxy', '--listen', f'127.0.0.1:{self.port}',
                    '--to', f'http://127.0.0.1:{upstream}', '--threads', '1', '--set', 'access_log=off',
                    '--set', f'forward.slow_bytes={slow}KiB',
                    '--set', f'forward.fast_bytes={fast}KiB', '--set', f'forward.fast_chunk={chunk}KiB',
                    '--set', f'forward.fast_after={after}']
        self.process = subprocess.Popen(argv, env=env, preexec_fn=lambda: keep_to(True), stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                break
            except OSError:
                time.sleep(0.02)

    def cpu_s(self):
        folder = f'/proc/{self.process.pid}/task'
        return sum(int(open(f'{folder}/{task}/schedstat', encoding='ascii').read().split()[0])
                   for task in os.listdir(folder)) / 1e9

    def open_stream(self):
        conn = socket.create_connection(('127.0.0.1', self.port))
        conn.sendall(b'GET / HTTP/1.1\r\nHost: curve\r\n\r\n')
        return conn

    def stop(self):
        self.process.terminate()
        self.process.wait()


def bulk(target):
    buffer = bytearray(1 << 20)
    with target.open_stream() as conn:
        def read_for(seconds):
            until = time.monotonic() + seconds
            count = 0
            while time.monotonic() < until:
                count += conn.recv_into(buffer)
            return count
        read_for(WARM_S)
        before = target.cpu_s()
        count = read_for(BULK_S)
        return (target.cpu_s() - before) / (count / 1e9)


def slow(target, ask, streams):
    conns = [target.open_stream() for _ in range(streams)]
    until = time.monotonic() + SLOW_S
    received = 0
    while time.monotonic() < until:
        next_at = time.monotonic() + SLOW_EVERY_S
        for conn in conns:
            received += len(conn.recv(SLOW_READ))
        time.sleep(max(0.0, next_at - time.monotonic()))
    ask.send('acked')
    acked = ask.recv()[1]
    arrived = 0
    for conn in conns:
        unread = array.array('i', [0])
        fcntl.ioctl(conn, termios.FIONREAD, unread)
        arrived += unread[0]
        conn.close()
    wait_until_quiet(ask)
    return (acked - received) / streams / KIB, arrived / streams / KIB


def wait_until_quiet(ask):
    for _ in range(100):
        ask.send('streams')
        if ask.recv()[0] == 0:
            return
        time.sleep(0.05)


def measure(build, name, setting, upstream, ask, rounds, streams):
    target = Target(build, name, setting, upstream)
    costs, aheads, arrived = [], [], []
    try:
        for _ in range(rounds):
            costs.append(bulk(target))
            wait_until_quiet(ask)
            ahead = slow(target, ask, streams)
            aheads.append(ahead[0])
            arrived.append(ahead[1])
    finally:
        target.stop()
    return statistics.median(aheads), statistics.median(arrived), statistics.median(costs)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--build', default='build/release')
    options.add_argument('--rounds', type=int, default=2)
    options.add_argument('--streams', type=int, default=40)
    chosen = options.parse_args()
    listener = socket.create_server(('127.0.0.1', 0), backlog=512)
    upstream = listener.getsockname()[1]
    ask, theirs = multiprocessing.Pipe()
    keep_to(False)
    child = multiprocessing.get_context('fork').Process(target=origin, args=(listener, theirs), daemon=True)
    child.start()
    print('| program | pace | slow KiB | fast KiB | piece KiB | ahead, KiB/stream | in the client | CPU, s/GB |')
    print('|---|---|---|---|---|---|---|---|')
    for name, settings in (('relay', RELAY), ('gateway', GATEWAY)):
        for what, setting in settings:
            ahead, arrived, cost = measure(chosen.build, name, setting, upstream, ask, chosen.rounds, chosen.streams)
            kib = [str(n) for n in setting[:3]]
            if setting[3] == NEVER:
                kib[1] = kib[2] = ''
            print(f'| {name} | {what} | {" | ".join(kib)} | {ahead:.0f} | {arrived:.0f} | {cost:.3f} |', flush=True)
    child.terminate()


main()
