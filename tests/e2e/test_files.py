# SPDX-License-Identifier: MIT
"""Files over real sockets: `examples/files` with curl and with raw clients."""

import hashlib
import os
import subprocess

import pytest

import harness

BIG = 20_000_000


def pattern(size):
    return (b"%015d\n" % 0 + b"".join(b"%015d\n" % i for i in range(1, size // 16 + 1)))[:size]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    base = tmp_path_factory.mktemp("files")
    (base / "secret").write_bytes(b"secret")
    www = base / "www"
    (www / "docs").mkdir(parents=True)
    (www / "a.txt").write_bytes(b"0123456789")
    (www / "docs" / "index.html").write_bytes(b"<p>docs")
    (www / "empty").write_bytes(b"")
    (www / ".env").write_bytes(b"hidden")
    (www / "big.bin").write_bytes(pattern(BIG))
    (www / "escape").symlink_to("../secret")
    (www / "etc").symlink_to("/etc")
    return www


@pytest.fixture(scope="module")
def files(tree):
    if not (harness.BUILD / "examples" / "files").exists():
        pytest.skip("files is not built")
    with harness.example("files", "--dir", tree) as program:
        yield program


def curl(files, target, *args):
    done = subprocess.run(["curl", "-sS", "--path-as-is", "-i", *args, f"http://127.0.0.1:{files.port}{target}"],
                          capture_output=True, timeout=30 * harness.SLOW, check=False)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), fields, body


def test_a_file(files):
    status, fields, body = curl(files, "/a.txt")
    assert (status, body) == (200, b"0123456789")
    assert fields["content-type"] == "text/plain; charset=utf-8"
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["accept-ranges"] == "bytes"
    assert fields["content-length"] == "10"
    assert fields["etag"].startswith('"')
    assert curl(files, "/empty")[2] == b""
    status, fields, body = curl(files, "/docs/")
    assert (status, body) == (200, b"<p>docs")
    status, fields, _ = curl(files, "/docs?x=1")
    assert (status, fields["location"]) == (301, "/docs/?x=1")
    status, fields, body = curl(files, "/a.txt", "-I")
    assert (status, fields["content-length"], body) == (200, "10", b"")
    status, fields, _ = curl(files, "/a.txt", "-X", "DELETE")
    assert (status, fields["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("asked, status, body, told", [
    ("0-0", 206, b"0", "bytes 0-0/10"),
    ("2-5", 206, b"2345", "bytes 2-5/10"),
    ("8-", 206, b"89", "bytes 8-9/10"),
    ("-3", 206, b"789", "bytes 7-9/10"),
    ("-30", 206, b"0123456789", "bytes 0-9/10"),
    ("5-30", 206, b"56789", "bytes 5-9/10"),
    ("10-", 416, b"", "bytes */10"),
    ("-0", 416, b"", "bytes */10"),
    ("1-2,4-5", 200, b"0123456789", None),
    ("99999999999999999999-", 416, b"", "bytes */10"),
])
def test_curl_ranges(files, asked, status, body, told):
    got = curl(files, "/a.txt", "-H", f"Range: bytes={asked}")
    assert (got[0], got[2], got[1].get("content-range")) == (status, body, told)


def test_curl_resumes(files, tree, tmp_path):
    """curl -C - asks for the rest of a file; what it has in the end is the file."""
    path = tmp_path / "part"
    path.write_bytes(pattern(BIG)[:7_654_321])
    subprocess.run(["curl", "-sS", "-C", "-", "-o", path, f"http://127.0.0.1:{files.port}/big.bin"],
                   timeout=30 * harness.SLOW, check=True)
    assert path.read_bytes() == pattern(BIG)


def test_curl_asks_again(files):
    status, fields, _ = curl(files, "/a.txt")
    etag, date = fields["etag"], fields["last-modified"]
    for name, value in (("If-None-Match", etag), ("If-None-Match", f'"x", W/{etag}'),
                        ("If-Modified-Since", date)):
        status, fields, body = curl(files, "/a.txt", "-H", f"{name}: {value}")
        assert (status, body, fields["etag"]) == (304, b"", etag)
        assert fields["cache-control"] == "no-cache"
    assert curl(files, "/a.txt", "-H", 'If-Match: "x"')[0] == 412
    for value, status in ((etag, 206), ('"x"', 200), (f"W/{etag}", 200)):
        assert curl(files, "/a.txt", "-H", "Range: bytes=1-2", "-H", f"If-Range: {value}")[0] == status


def test_a_changed_file_has_another_tag(files, tree):
    (tree / "version").write_bytes(b"1")
    before = curl(files, "/version")[1]["etag"]
    (tree / "next").write_bytes(b"2")
    os.replace(tree / "next", tree / "version")
    status, fields, body = curl(files, "/version", "-H", f"If-None-Match: {before}")
    assert (status, body) == (200, b"2") and fields["etag"] != before


@pytest.mark.parametrize("target, status", [
    ("/../secret", 400), ("/docs/../../secret", 400), ("/%2e%2e/secret", 400), ("/..%2fsecret", 400),
    ("/docs%2findex.html", 400), ("/a.txt%00", 400), ("/..%5csecret", 400), ("/a.txt%0d%0aX:%20y", 400),
    ("/%252e%252e/secret", 404), ("/escape", 404), ("/etc/passwd", 404), ("/.env", 404), ("/%2eenv", 404),
    ("//a.txt", 404), ("/" + "n" * 300, 404), ("/" + "d/" * 2500, 404), ("/a.txt/", 404), ("/nothere", 404)])
def test_nothing_leads_out(files, target, status):
    got = harness.fetch(files.port, "GET", target)
    assert got.status == status
    assert b"secret" not in bytes(got.body) and b"root:" not in bytes(got.body)


def test_big_files_are_whole(files):
    """Alone and one after the other on a connection, whose pace is fast by then."""
    wanted = hashlib.sha256(pattern(BIG)).hexdigest()
    with harness.Client(files.port, 30) as client:
        for _ in range(3):
            client.request("GET", "/big.bin")
            response = client.read_response()
            assert response.complete and response.framing == "length"
            assert hashlib.sha256(bytes(response.body)).hexdigest() == wanted
            client.request("GET", "/big.bin", "Range: bytes=16000000-16000015")
            response = client.read_response()
            assert (response.status, bytes(response.body)) == (206, b"%015d\n" % 1_000_000)


def test_a_file_that_shrinks_is_never_whole(files, tree):
    path = tree / "shrinks"
    path.write_bytes(pattern(BIG))
    with harness.Client(files.port, 30, receive_buffer=65536) as client:
        client.request("GET", "/shrinks")
        client.read_head()
        os.truncate(path, 15_000_000)
        response = client.read_response()
    assert not response.complete
    assert 0 < response.body_bytes <= 15_000_000
    assert bytes(response.body) == pattern(BIG)[:response.body_bytes]


def test_a_file_that_grows_ends_where_it_said(files, tree):
    path = tree / "grows"
    path.write_bytes(pattern(5_000_000))
    with harness.Client(files.port, 30, receive_buffer=65536) as client:
        client.request("GET", "/grows")
        client.read_head()
        with open(path, "ab") as file:
            file.write(b"x" * 5_000_000)
        response = client.read_response()
        assert response.complete and bytes(response.body) == pattern(5_000_000)
        client.request("GET", "/a.txt")
        assert bytes(client.read_response().body) == b"0123456789"


def test_a_cold_file(files, tree):
    path = tree / "cold"
    path.write_bytes(pattern(BIG))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    response = harness.fetch(files.port, "GET", "/cold", timeout=30)
    assert response.complete and bytes(response.body) == pattern(BIG)


def test_who_leaves_takes_the_descriptor_along(files):
    links = len(os.listdir(f"/proc/{files.process.pid}/fd"))
    for _ in range(20):
        client = harness.Client(files.port, receive_buffer=16384)
        client.request("GET", "/big.bin")
        client.read_head()
        client.close()
    harness.wait_until(lambda: len(os.listdir(f"/proc/{files.process.pid}/fd")) <= links, 5,
                       "the descriptors to be closed")
