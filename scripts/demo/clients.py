# SPDX-License-Identifier: MIT
"""Clients on plain sockets: one that reads as fast as it can, and many that read at a rate."""
import hashlib
import socket
import time


class Truncated(Exception):
    pass


class Client:
    """One GET. The head is read by connect(), the body by whoever calls recv()."""

    def __init__(self, port, target, key, receive_buffer=0):
        self.body_bytes = 0
        self.status = 0
        self.length = None
        self.fields = {}
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(('127.0.0.1', port))
        self.local_port = self.socket.getsockname()[1]
        auth = f'X-Api-Key: {key}\r\n' if key else ''
        self.socket.sendall(f'GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{auth}'
                            'Connection: close\r\n\r\n'.encode())

    def head(self):
        """Reads up to the empty line, a byte at a time: no byte of the body with it."""
        text = b''
        while not text.endswith(b'\r\n\r\n'):
            byte = self.socket.recv(1)
            if not byte:
                raise Truncated('no head')
            text += byte
        lines = text.decode('latin-1').split('\r\n')
        self.status = int(lines[0].split(' ')[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines[1:])}
        if 'content-length' in self.fields:
            self.length = int(self.fields['content-length'])
        return self

    def read_all(self, hasher):
        """A body with a Content-Length."""
        buffer = memoryview(bytearray(1 << 18))
        while self.body_bytes < self.length:
            n = self.socket.recv_into(buffer)
            if n == 0:
                raise Truncated(f'{self.body_bytes} of {self.length} bytes')
            hasher.update(buffer[:n])
            self.body_bytes += n

    def close(self):
        self.socket.close()


def get(port, target, key=None):
    """A small answer, whole: status, fields, body."""
    client = Client(port, target, key).head()
    body = b''
    while client.length is None or len(body) < client.length:
        piece = client.socket.recv(65536)
        if not piece:
            break
        body += piece
    client.close()
    return client.status, client.fields, body


def crowd(port, target, key, count, rate, pipe):
    """So many clients, each reading at `rate` bytes/s until its body is complete. Runs in a process of its own. Sends
    through `pipe` first the pairs (own port, port of the gateway's connection to the origin), at the end the result of
    each: (bytes, hash) or a message."""
    clients = [Client(port, target, key, receive_buffer=65536) for _ in range(count)]
    for client in clients:
        client.head()
        client.socket.setblocking(False)
        client.hash = hashlib.sha256()
        client.result = None
    pipe.send([(client.local_port, int(client.fields.get('x-origin-peer', '0:0').rpartition(':')[2]))
               for client in clients])
    begin = time.monotonic()
    buffer = memoryview(bytearray(65536))
    while any(client.result is None for client in clients):
        due = (time.monotonic() - begin) * rate
        for client in clients:
            if client.result is None:
                _read_some(client, min(int(due) - client.body_bytes, 65536), buffer)
        time.sleep(0.01)
    pipe.send([client.result for client in clients])


def _read_some(client, size, buffer):
    if size <= 0:
        return
    try:
        n = client.socket.recv_into(buffer, size)
    except BlockingIOError:
        return
    except OSError as error:
        client.result = str(error)
        return
    client.hash.update(buffer[:n])
    client.body_bytes += n
    if client.body_bytes == client.length:
        client.result = (client.body_bytes, client.hash.hexdigest())
        client.close()
    elif n == 0:
        client.result = f'ended after {client.body_bytes} of {client.length} bytes'
