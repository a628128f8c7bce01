# SPDX-License-Identifier: MIT
"""The service and the gateway as processes."""
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
        return True


def free_port(wanted=0):
    """The port wanted, or any other that is free."""
    if wanted and is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Setting:
    """Both programs, and a key that may read reports and send uploads but nothing else."""

    def __init__(self, build, origin_port=0, gateway_port=0):
        self.build = build
        self.folder = tempfile.mkdtemp(prefix='weir-demo-')
        self.key = secrets.token_hex(16)
        self.keys_path = os.path.join(self.folder, 'keys')
        self.log_path = os.path.join(self.folder, 'gateway.log')
        self._processes = []
        with open(self.keys_path, 'w', encoding='ascii') as file:
            digest = hashlib.sha256(self.key.encode()).hexdigest()
            file.write(f'demo {digest} prefix=/report,/sse,/upload,/fail,/mega methods=GET,HEAD,POST,PUT\n')
        try:
            self.origin_port = free_port(origin_port)
            self.origin = self._start('origin.log', 'examples/report_origin', '--listen',
                                      f'127.0.0.1:{self.origin_port}')
            self._wait(self.origin, self.origin_port, 'origin.log')
            self.gateway_port = free_port(gateway_port)
            self.gateway_command = ['cli/weir', 'proxy', '--listen', f'127.0.0.1:{self.gateway_port}', '--to',
                                    f'http://127.0.0.1:{self.origin_port}', '--keys', self.keys_path, '--set', 'shutdown.grace=1s']
            self.gateway = self._start('gateway.log', *self.gateway_command)
            self._wait(self.gateway, self.gateway_port, 'gateway.log')
        except BaseException:
            self.end()
            raise

    def _start(self, log, program, *args):
        # A session of its own: Ctrl-C reaches the demo, which ends its children in order.
        with open(os.path.join(self.folder, log), 'wb') as out:
            process = subprocess.Popen([os.path.join(self.build, program), *args], stdout=out, stderr=out,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        self._processes.append(process)
        return process

    def _wait(self, process, port, log):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(('127.0.0.1', port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        with open(os.path.join(self.folder, log), encoding='utf-8', errors='replace') as file:
            raise RuntimeError(f'{process.args[0]} does not listen:\n{file.read()}')

    def kill_origin(self):
        self.origin.send_signal(signal.SIGKILL)
        self.origin.wait()

    def end(self):
        """Ends what runs, politely. Returns the exit statuses."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        return [process.returncode for process in self._processes]
