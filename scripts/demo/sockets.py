# SPDX-License-Identifier: MIT
"""What the kernel knows of TCP sockets, asked over netlink (sock_diag): a list of all takes about a millisecond."""
import socket
import struct
from collections import namedtuple

# received, sent: bytes of data since the connection began, counted by the kernel; sent has left for the peer, and what
# had to be sent again counts once.
# memory: what the socket holds in the kernel now.
Tcp = namedtuple('Tcp', 'local_port peer_port received sent memory')

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP = 0x301
INFO, SKMEMINFO = 2, 7                # attributes, and the bits (n - 1) that ask for them
STATES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9   # established, FIN_WAIT1 and 2, CLOSE_WAIT, LAST_ACK
BYTES_RECEIVED, BYTES_SENT = 128, 200                 # offsets in struct tcp_info; the bytes sent again follow


class Sockets:
    def __init__(self):
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)

    def list(self):
        """All IPv4 TCP connections of this machine."""
        request = struct.pack('=BBBBI', socket.AF_INET, socket.IPPROTO_TCP,
                              1 << (INFO - 1) | 1 << (SKMEMINFO - 1), 0, STATES) + bytes(48)
        self._netlink.send(struct.pack('=IHHII', 16 + len(request), SOCK_DIAG_BY_FAMILY,
                                       NLM_F_REQUEST_DUMP, 1, 0) + request)
        found = []
        while True:
            data = self._netlink.recv(1 << 20)
            at = 0
            while at < len(data):
                size, kind = struct.unpack_from('=IH', data, at)
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError('the kernel does not list its sockets (sock_diag)')
                tcp = self._parse(data, at + 16, at + size)
                if tcp is not None:
                    found.append(tcp)
                at += size + 3 & ~3

    @staticmethod
    def _parse(data, at, end):
        """None for one that is on its way out: the kernel has forgotten what it carried."""
        local_port, peer_port = struct.unpack_from('>HH', data, at + 4)
        received = sent = memory = 0
        known = False
        at += 72
        while at + 4 <= end:
            size, kind = struct.unpack_from('=HH', data, at)
            if kind == INFO:
                known = True
                received, = struct.unpack_from('=Q', data, at + 4 + BYTES_RECEIVED)
                sent, again = struct.unpack_from('=QQ', data, at + 4 + BYTES_SENT)
                sent -= again
            elif kind == SKMEMINFO:
                # rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, ...
                words = struct.unpack_from('=6I', data, at + 4)
                memory = words[0] + words[4] + words[5]
            at += size + 3 & ~3
        return Tcp(local_port, peer_port, received, sent, memory) if known else None


def rss_bytes(pid):
    with open(f'/proc/{pid}/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * 4096
