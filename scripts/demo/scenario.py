# SPDX-License-Identifier: MIT
"""./demo --once: what the gateway promises, looked at from outside."""
import hashlib
import json
import multiprocessing
import subprocess
import time

import clients
import plot
from sockets import Sockets, rss_bytes

FULL_MB = 300
CROWD, CROWD_RATE, CROWD_MB = 50, 1000000, 15
SAMPLE_S = 0.1
AHEAD_BYTES = 200000       # in - out, per stream
RSS_GROWTH_BYTES = 2000000  # of the gateway, once all its streams are there
LEAVE_S = 1.0


class Report:
    """What has been found so far."""

    def __init__(self):
        self.rows = []

    def add(self, what, result, held):
        self.rows.append((what, result, bool(held)))

    def held(self):
        return all(row[2] for row in self.rows)


def origin_json(setting, target):
    status, _, body = clients.get(setting.origin_port, target)
    if status != 200:
        raise RuntimeError(f'{target}: the service answered {status}')
    return json.loads(body)


def check_keys(setting, report):
    none, fields, _ = clients.get(setting.gateway_port, '/report?mb=1')
    elsewhere, _, _ = clients.get(setting.gateway_port, '/stats', setting.key)
    report.add('no key; a key that may not go there', f'{none}; {elsewhere}',
               none == 401 and 'www-authenticate' in fields and elsewhere == 403)


def check_full_speed(setting, report):
    print(f'  {FULL_MB} MB at full speed ...', flush=True)
    wanted = origin_json(setting, f'/report/sha256?mb={FULL_MB}&seed=1')
    client = clients.Client(setting.gateway_port, f'/report?mb={FULL_MB}&seed=1', setting.key).head()
    hasher = hashlib.sha256()
    begin = time.monotonic()
    client.read_all(hasher)
    took = time.monotonic() - begin
    client.close()
    report.add(f'{FULL_MB} MB at full speed', f'{client.body_bytes / took / 1e6:.0f} MB/s, status {client.status}',
               client.status == 200 and client.body_bytes == wanted['bytes'])
    report.add('    its SHA-256 is the service\'s own', hasher.hexdigest()[:16] + '...',
               hasher.hexdigest() == wanted['sha256'])


class Samples:
    """One look at all streams every 100 ms."""

    def __init__(self, setting, pairs, before):
        self.setting = setting
        self.pairs = pairs
        self.before = before   # what the pooled connections had carried already
        self.sockets = Sockets()
        self.bytes_in, self.bytes_out, self.ahead, self.rss, self.kernel = [], [], [], [], []
        self.complete = 0      # looks that saw every stream
        self._last = {pair: (0, 0) for pair in pairs}

    def look(self):
        upstream, downstream, kernel = {}, {}, 0
        for tcp in self.sockets.list():
            if tcp.peer_port == self.setting.origin_port:
                upstream[tcp.local_port] = tcp.received - self.before.get(tcp.local_port, 0)
            elif tcp.local_port == self.setting.gateway_port:
                downstream[tcp.peer_port] = tcp.sent
            else:
                continue
            kernel += tcp.memory
        worst = seen = 0
        for pair in self.pairs:
            client_port, upstream_port = pair
            if client_port in downstream and upstream_port in upstream:
                self._last[pair] = upstream[upstream_port], downstream[client_port]
                worst = max(worst, self._last[pair][0] - self._last[pair][1])
                seen += 1
        self.complete += seen == len(self.pairs)
        self.bytes_in.append(sum(one[0] for one in self._last.values()))
        self.bytes_out.append(sum(one[1] for one in self._last.values()))
        self.ahead.append(worst)
        self.rss.append(rss_bytes(self.setting.gateway.pid))
        self.kernel.append(kernel)


def check_crowd(setting, report):
    print(f'  {CROWD} clients at {CROWD_RATE / 1e6:.0f} MB/s, {CROWD_MB} MB each ...', flush=True)
    wanted = origin_json(setting, f'/report/sha256?mb={CROWD_MB}&seed=2')
    before = {tcp.local_port: tcp.received for tcp in Sockets().list() if tcp.peer_port == setting.origin_port}
    rss_before = rss_bytes(setting.gateway.pid)
    mine, theirs = multiprocessing.Pipe()
    # fork: the child is there at once, and shares the modules.
    crowd = multiprocessing.get_context('fork').Process(
        target=clients.crowd, daemon=True,
        args=(setting.gateway_port, f'/report?mb={CROWD_MB}&seed=2', setting.key, CROWD, CROWD_RATE, theirs))
    crowd.start()
    theirs.close()
    try:
        samples = Samples(setting, mine.recv(), before)
        begin = due = time.monotonic()
        while not mine.poll() and time.monotonic() < begin + CROWD_MB * 3:
            samples.look()
            due += SAMPLE_S
            time.sleep(max(0, due - time.monotonic()))
        took = time.monotonic() - begin
        results = mine.recv() if mine.poll() else []
    except EOFError:
        report.add(f'{CROWD} clients', 'the clients failed', False)
        return
    finally:
        crowd.kill()
        crowd.join()
    judge_crowd(report, samples, results, wanted, rss_before, took)


def judge_crowd(report, samples, results, wanted, rss_before, took):
    good = sum(result == (wanted['bytes'], wanted['sha256']) for result in results)
    # The first two seconds bring the streams' own memory; after that the curve is flat.
    steady = samples.rss[round(2 / SAMPLE_S):] or samples.rss
    growth = max(steady) - steady[0]
    plot.chart('MB in (i) and out (o) of the gateway, all streams; #: both', [
        ('i', [value / 1e6 for value in samples.bytes_in]), ('o', [value / 1e6 for value in samples.bytes_out])],
        CROWD * CROWD_MB * 1.048576, took, 'MB')
    plot.chart('in - out of the worst stream, KB (bound: 200)', [
        ('*', [value / 1e3 for value in samples.ahead])], 200, took, 'KB')
    plot.chart('resident memory of the gateway (r) and its sockets\' kernel memory (k), MB', [
        ('r', [value / 1e6 for value in samples.rss]), ('k', [value / 1e6 for value in samples.kernel])],
        max(max(samples.rss), max(samples.kernel)) / 1e6 * 1.25, took, 'MB')
    report.add(f'{CROWD} clients at {CROWD_RATE / 1e6:.0f} MB/s: complete, hash right', f'{good} of {CROWD} in {took:.1f} s',
               good == CROWD and took < CROWD_MB * 1.048576 * 1.2)
    report.add('    in - out per stream, worst of all samples',
               f'{max(samples.ahead) / 1e3:.0f} KB in {len(samples.ahead)} samples',
               max(samples.ahead) <= AHEAD_BYTES and samples.complete > 10 / SAMPLE_S)
    report.add('    gateway RSS', f'{max(samples.rss) / 1e6:.1f} MB, +{growth / 1e6:.1f} MB after 2 s '
               f'(before: {rss_before / 1e6:.1f})', growth <= RSS_GROWTH_BYTES)
    report.add('    kernel memory of its sockets, peak', f'{max(samples.kernel) / 1e6:.1f} MB', True)


def wait_for_cancel(setting, canceled):
    """Seconds until the service has counted one more; None: it has not in time."""
    begin = time.monotonic()
    while time.monotonic() < begin + LEAVE_S:
        if origin_json(setting, '/stats')['canceled'] > canceled:
            return time.monotonic() - begin
        time.sleep(0.002)
    return None


def check_leave(setting, report, what, target, read_bytes):
    canceled = origin_json(setting, '/stats')['canceled']
    client = clients.Client(setting.gateway_port, target, setting.key).head()
    got = 0
    while got < read_bytes:
        got += len(client.socket.recv(65536))
    client.close()
    took = wait_for_cancel(setting, canceled)
    report.add(what, 'the service never heard of it' if took is None else f'the service stopped after {took * 1e3:.0f} ms',
               took is not None)


def check_kill(setting, report):
    print('  the service is killed in the middle ...', flush=True)
    curl = subprocess.Popen(['curl', '-sS', '-o', '/dev/null', '--limit-rate', '20M', '-H', f'X-Api-Key: {setting.key}',
                             f'http://127.0.0.1:{setting.gateway_port}/report?mb={FULL_MB}'],
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    time.sleep(0.7)
    setting.kill_origin()
    try:
        message = curl.communicate(timeout=10)[1].strip()
    except subprocess.TimeoutExpired:
        curl.kill()
        message = curl.communicate()[1] + ' (waited in vain)'
    print(f'    {message}')
    # 18: fewer bytes than declared; 56: the connection was reset.
    report.add('the service is killed in the middle', f'curl exits with {curl.returncode}', curl.returncode in (18, 56))
    status, _, _ = clients.get(setting.gateway_port, '/report?mb=1', setting.key)
    report.add('    the next request', f'{status}', status == 502)


def run(setting):
    begin = time.monotonic()
    report = Report()
    print()
    try:
        check_keys(setting, report)
        check_full_speed(setting, report)
        check_crowd(setting, report)
        check_leave(setting, report, 'a client leaves in the middle of a report', '/report?mb=5000', 5000000)
        check_leave(setting, report, 'a client leaves an idle event stream', '/sse?interval_ms=600000', 1)
        check_kill(setting, report)
        report.add('the gateway ends cleanly', *end_of_gateway(setting))
    except (OSError, RuntimeError, ValueError, clients.Truncated) as error:
        report.add('the scenario', f'broke off: {error}', False)
    took = time.monotonic() - begin
    report.add('time', f'{took:.0f} s', took < 60)
    plot.table(report.rows)
    print('\n  all of it held' if report.held() else '\n  not all of it held')
    return 0 if report.held() else 1


def end_of_gateway(setting):
    status = setting.end()[-1]
    return f'exit status {status}', status == 0
