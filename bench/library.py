#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the library costs as a server, beside other servers, and what its parts cost.

    bench/library.py [--build build/release] [--rounds 5] [CASE ...]

Cases: small, sse, file, emits, upload, primitives, idle; all of them unless some are named. Peers that are not installed (go,
node, nginx, h2o) are left out. Prints tables in Markdown: medians of the rounds, in which the servers take turns. CPU is
that of the server's processes, from the scheduler's own count in ns; memory is the proportional set size. The server has
the last processor for itself, its clients the others.
"""
import argparse
import glob
import json
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PORT = 24600
CPUS = sorted(os.sched_getaffinity(0))
GB = 1e9
STREAMS = 5000
FILE_BYTES = 1 << 30

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location = /small {{ default_type application/octet-stream; return 200 "{small}"; }}
    location /files/ {{ alias {files}/; }}
  }}
}}
"""
H2O = """
num-threads: 1
listen: {{ host: 127.0.0.1, port: {port} }}
pid-file: {dir}/pid
error-log: {dir}/error.log
hosts:
  default:
    paths:
      /small: {{ file.file: {files}/small }}
      /files: {{ file.dir: {files} }}
"""


class Server:
    """One server's process, and what the scheduler and the kernel say of it."""

    def __init__(self, name, command, config=None):
        self.name, self.command, self.config = name, command, config
        self.process = None

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix='weir-bench-')
        os.chmod(self.dir, 0o777)
        words = {'port': PORT, 'dir': self.dir, 'files': FILES, 'small': '0' * 1024, 'conf': self.dir + '/conf'}
        if self.config:
            with open(words['conf'], 'w', encoding='utf-8') as file:
                file.write(self.config.format(**words))
        with open(self.dir + '/log', 'wb') as log:
            self.process = subprocess.Popen([word.format(**words) for word in self.command], stdout=log, stderr=log,
                                            start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, CPUS[-1:]))
        for _ in range(100):
            try:
                socket.create_connection(('127.0.0.1', PORT)).close()
                time.sleep(0.2)
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f'{self.name} does not start: see {self.dir}/log')

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def tasks(self):
        for stat in glob.glob('/proc/[0-9]*/stat'):
            try:
                with open(stat, encoding='latin-1') as file:
                    fields = file.read().rsplit(')', 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid:
                yield os.path.dirname(stat)

    def cpu(self):
        """Seconds that its threads have run."""
        total = 0
        for task in self.tasks():
            for name in glob.glob(task + '/task/*/schedstat'):
                with open(name, encoding='ascii') as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def memory(self):
        """Bytes of memory, shared pages by their share."""
        total = 0
        for task in self.tasks():
            with open(task + '/smaps_rollup', encoding='ascii') as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith('Pss:'))
        return total


# ---- clients ----

def connect():
    return socket.create_connection(('127.0.0.1', PORT))


def download(path):
    """Reads a response to the end of its connection; returns its bytes."""
    with connect() as client:
        client.sendall(f'GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n'.encode())
        room = bytearray(1 << 20)
        head = client.recv(12)
        if not head.startswith(b'HTTP/1.1 200'):
            raise SystemExit(f'{path}: {head!r}')
        total = 0
        while True:
            got = client.recv_into(room)
            if got == 0:
                return total
            total += got


def downloads(path, clients):
    totals = [0] * clients

    def one(i):
        totals[i] = download(path)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(totals)


def upload(size):
    with connect() as client:
        client.sendall(f'POST /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n'.encode())
        block = bytes(1 << 20)
        for _ in range(size >> 20):
            client.sendall(block)
        answer = b''
        while True:
            part = client.recv(4096)
            if not part:
                break
            answer += part
        if str(size).encode() not in answer.split(b'\r\n\r\n', 1)[1]:
            raise SystemExit(f'the upload was not taken: {answer!r}')


def wait_for(poll, clients, mark):
    """Reads until each client has got the mark; returns the times at which they had it."""
    times, rest = [], dict.fromkeys(clients, b'')
    while rest:
        ready = poll.poll(20000)
        if not ready:
            raise SystemExit(f'{len(rest)} streams got nothing')
        for number, _ in ready:
            seen = rest.get(number, b'') + clients[number].recv(4096)
            if mark in seen and number in rest:
                times.append(time.perf_counter())
                del rest[number]
            elif number in rest:
                rest[number] = seen
    return times


# ---- cases ----

def small(server):
    before = server.cpu()
    done = subprocess.run(['wrk', '-t1', '-c64', '-d3s', f'http://127.0.0.1:{PORT}/small'], capture_output=True, text=True,
                          check=True)
    spent = server.cpu() - before
    words = done.stdout.split()
    requests = int(words[words.index('requests') - 1])
    if 'Non-2xx' in done.stdout:
        raise SystemExit(done.stdout)
    return {'CPU us/request': spent / requests * 1e6, 'requests/s': float(words[words.index('Requests/sec:') + 1])}


def sse(server):
    download('/small')
    idle, before = server.memory(), server.cpu()
    clients, poll = {}, select.epoll()
    for _ in range(STREAMS):
        client = connect()
        client.sendall(b'GET /sse HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n')
        clients[client.fileno()] = client
        poll.register(client, select.EPOLLIN)
    wait_for(poll, clients, b': k\n')
    opened = server.cpu() - before
    time.sleep(1.5)
    memory = server.memory() - idle
    bursts, spent = [], 0
    for _ in range(5):
        before, begun = server.cpu(), time.perf_counter()
        with connect() as control:
            control.sendall(b'GET /ctl/broadcast HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n')
            bursts.append((max(wait_for(poll, clients, b'data: ')) - begun) * 1e3)
        time.sleep(0.2)
        spent += server.cpu() - before
    for client in clients.values():
        client.close()
    return {'KB/stream': memory / STREAMS / 1e3, 'open, CPU us': opened / STREAMS * 1e6,
            'fan-out, CPU us/event': spent / STREAMS / 5 * 1e6, 'fan-out, ms': statistics.median(bursts)}


def cost(server, run):
    before = server.cpu()
    moved = run()
    return (server.cpu() - before) / moved * GB


def file(server):
    return {'1 client, CPU-s/GB': cost(server, lambda: downloads('/files/big', 1)),
            '16 clients, CPU-s/GB': cost(server, lambda: downloads('/files/part', 16))}


def emits(server):
    size = 512 << 20
    path = '/buffered-emits/' if server.name == 'go, unflushed' else '/emits/'
    per_gb = cost(server, lambda: download(path + str(size)) and size)
    return {'CPU-s/GB': per_gb, 'ns an emit': per_gb * 1024}


def uploads(server):
    return {'CPU-s/GB': cost(server, lambda: upload(2 << 30) or 2 << 30)}


CASES = {
    'small': (small, ['weir', 'nginx', 'h2o', 'go', 'node'], '1 KiB from memory, 64 kept connections'),
    'sse': (sse, ['weir', 'go', 'node'], f'{STREAMS:,} event streams'),
    'file': (file, ['weir', 'nginx', 'go'], 'a static file of 1 GiB (16 clients: of 256 MiB)'),
    'emits': (emits, ['weir', 'go', 'go, unflushed', 'node'], 'a stream of 1 KiB emits, one client'),
    'upload': (uploads, ['weir', 'go', 'node'], 'an upload of 2 GiB, read and dropped'),
}


def servers(build):
    """Those that are there, by name."""
    there = {'weir': Server('weir', [build + '/bench/origin', '{port}', '{files}'])}
    if shutil.which('go'):
        binary = WORK + '/origin-go'
        subprocess.run(['go', 'build', '-o', binary, ROOT + '/bench/peers/origin.go'], check=True)
        environment = ['env', 'GOMAXPROCS=1']
        there['go'] = Server('go', environment + [binary, '{port}', '{files}'])
        there['go, unflushed'] = Server('go, unflushed', environment + [binary, '{port}', '{files}'])
    if shutil.which('node'):
        there['node'] = Server('node', ['node', ROOT + '/bench/peers/origin.js', '{port}'])
    if shutil.which('nginx'):
        there['nginx'] = Server('nginx', ['nginx', '-c', '{conf}'], NGINX)
    if shutil.which('h2o'):
        there['h2o'] = Server('h2o', ['h2o', '-m', 'worker', '-c', '{conf}'], H2O)
    return there


def show(title, rows):
    columns = list(next(iter(rows.values())))
    print(f'\n{title}\n\n| | ' + ' | '.join(columns) + ' |\n|---' * 1 + '|---' * len(columns) + '|')
    for name, row in rows.items():
        print(f'| {name} | ' + ' | '.join(f'{row[column]:,.3g}' if row[column] < 1000 else f'{row[column]:,.0f}'
                                        for column in columns) + ' |')
    sys.stdout.flush()


def run_case(name, there, rounds):
    case, wanted, title = CASES[name]
    seen = {}
    for _ in range(rounds):
        for peer in wanted:
            if peer in there:
                with there[peer] as server:
                    seen.setdefault(peer, []).append(case(server))
    show(title, {peer: {column: statistics.median(row[column] for row in rows) for column in rows[0]}
                 for peer, rows in seen.items()})


def primitives(build):
    rows = {'weir': json.loads(subprocess.check_output([build + '/bench/primitives']))}
    if shutil.which('go'):
        binary = WORK + '/primitives-go'
        subprocess.run(['go', 'build', '-o', binary, ROOT + '/bench/peers/primitives.go'], check=True)
        rows['go'] = json.loads(subprocess.check_output([binary]))
    names = list(rows['weir'])
    show('ns each', {name: {peer: rows[peer].get(name, float('nan')) for peer in rows} for name in names})


def idle(build):
    rows = {}
    for how in ('trimmed', 'untrimmed'):
        row = json.loads(subprocess.check_output([build + '/bench/idle', '100000', how]))
        rows[how] = {'RSS MB': row['rss_mb'], 'KB/stream': row['kb_per_stream']}
    show('100,000 idle event streams on the memory transport', rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default='build/release')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('cases', nargs='*', metavar='CASE')
    args = parser.parse_args()
    build = os.path.abspath(args.build)
    cases = args.cases or [*CASES, 'primitives', 'idle']
    unknown = set(cases) - {*CASES, 'primitives', 'idle'}
    if unknown:
        parser.error(f'no such case: {", ".join(unknown)}')
    for name, size in (('small', 1024), ('part', FILE_BYTES >> 2), ('big', FILE_BYTES)):
        with open(f'{FILES}/{name}', 'wb') as out:
            for _ in range(max(size >> 20, 1)):
                out.write(bytes(min(size, 1 << 20)))
    os.sched_setaffinity(0, CPUS[:-1] or CPUS)
    there = servers(build) if set(cases) & set(CASES) else {}
    for name in cases:
        if name in CASES:
            run_case(name, there, args.rounds)
    if 'primitives' in cases:
        primitives(build)
    if 'idle' in cases:
        idle(build)


with tempfile.TemporaryDirectory(prefix='weir-bench-') as WORK:
    FILES = WORK + '/files'
    os.mkdir(FILES)
    os.chmod(WORK, 0o755)
    main()
