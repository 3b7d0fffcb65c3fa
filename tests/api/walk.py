# SPDX-License-Identifier: Apache-2.0
"""Walks the golden cases of the wire contract over the raw socket, and prints TAP.

Each story of tests/api/cases gets a `mayfly serve` of its own. Its lines:

  = NAME [; needs guest, tap]     a story, on one connection that is kept alive
  + OPTIONS                       of `mayfly serve`
  @ FILE...                       descriptors that go with the next request; tap:NAME is a tap
  > METHOD PATH [BODY]            a request
  < STATUS [BODY]                 its answer, byte for byte, heads included; BODY may be ~REGEX
  <! STATUS [BODY]                the same, with the header that says `deprecated`
  >> BYTES                        bytes, with \\r, \\n, \\xHH and `TEXT`*N for repetition
  << BYTES                        bytes that come; <<. and then the connection ends
  ! start [GUEST WORDS...]        boots a guest, by default one that runs until it is stopped
  ! stall, and then ! drain CODE  the guest's output has no reader; then it has, and the process ends
  ! events, and then <e LINE      listens to GET /events on another connection
  ! hold N                        N more connections, each of them answered
  ! anew                          a new process that has been told nothing
  ! again                         the same configuration as a config file, in a new process
  ! metrics FILE                  its last line has the keys of tests/api/metrics, no others
  ! log TEXT                      the log has such a line

$T is a folder with what `files` says, $G the folder of the guests. What openapi.yaml says of each
request and answer must be true (schema.py), and each of its paths and fields must have its case.
"""

import fcntl
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile

from schema import Schema

MAYFLY = os.environ.get("MAYFLY", "build/mayfly")
GUESTS = os.environ.get("GUESTS", "build/guest")
FILES = {
    "kernel": b"no kernel\n", "disk": bytes(1 << 20), "other": bytes(2 << 20), "text": b"text\n",
    "state": b"", "memory": b"",
}
PATIENCE = 60  # seconds; no case is about time


class Wrong(Exception):
    pass


def unescape(text):
    text = re.sub(r"`([^`]*)`\*(\d+)", lambda m: m[1] * int(m[2]), text)
    return text.encode().decode("unicode_escape").encode("latin-1")


def open_any(name):
    if not name.startswith("tap:"):
        return os.open(name, os.O_RDWR)
    fd = os.open("/dev/net/tun", os.O_RDWR)
    # TUNSETIFF, with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name[4:].encode(), 0x5002))
    return fd


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.got = b""

    def send(self, data, files=()):
        fds = [open_any(name) for name in files]
        if fds:
            sent = socket.send_fds(self.socket, [data], fds)
            data = data[sent:]
        self.socket.sendall(data)
        for fd in fds:
            os.close(fd)

    def more(self):
        chunk = self.socket.recv(1 << 16)
        self.got += chunk
        return bool(chunk)

    def take(self, size):
        while len(self.got) < size and self.more():
            pass
        taken, self.got = self.got[:size], self.got[size:]
        return taken

    def line(self):
        while b"\n" not in self.got and self.more():
            pass
        line, _, self.got = self.got.partition(b"\n")
        return line.decode()

    def answer(self):
        """(status, head, body)"""
        while b"\r\n\r\n" not in self.got and self.more():
            pass
        head, _, self.got = self.got.partition(b"\r\n\r\n")
        head = head.decode()
        length = re.search(r"\r\nContent-Length: (\d+)", head)
        body = self.take(int(length[1]) if length else 0).decode()
        words = head.split(" ")
        return int(words[1]) if len(words) > 1 else 0, head, body

    def ended(self):
        return not self.got and not self.more()


class Story:
    def __init__(self, schema, name, folder):
        self.schema, self.name, self.folder = schema, name, folder
        self.path = folder + "/socket"
        self.options, self.files = [], []
        self.server = self.connection = self.events = None
        self.held, self.request = [], None
        self.output = (None, None)

    def start_server(self, more=()):
        ready, theirs = os.pipe()
        with open(self.folder + "/log", "ab") as log:
            self.server = subprocess.Popen(
                [MAYFLY, "serve", "--api-sock", self.path, "--ready-fd", str(theirs)]
                + self.options + list(more),
                stdin=subprocess.DEVNULL, stdout=self.output[1] or subprocess.DEVNULL, stderr=log,
                pass_fds=[theirs],
            )
        os.close(theirs)
        if os.read(ready, 1) != b"\n":
            raise Wrong("mayfly serve does not start")
        os.close(ready)

    def stop_server(self):
        if self.server and self.server.poll() is None:
            self.server.terminate()
            if self.server.wait(PATIENCE) != 128 + signal.SIGTERM:
                raise Wrong(f"it ended with {self.server.returncode}")
        self.server = self.connection = self.events = None
        self.held = []

    def kill_server(self):
        if self.server and self.server.poll() is None:
            self.server.kill()
            self.server.wait()

    def connect(self):
        if not self.server:
            self.start_server()
        if not self.connection:
            self.connection = Connection(self.path)
        return self.connection

    def send(self, method, path, body):
        self.request = (method, path, body)
        data = f"{method} {path} HTTP/1.1\r\n"
        if body is not None:
            data += f"Content-Length: {len(body.encode())}\r\n"
        self.connect().send((data + "\r\n" + (body or "")).encode(), self.files)
        self.files = []

    def expect(self, status, wanted, is_deprecated=False):
        got, head, body = self.connection.answer()
        lines = [f"HTTP/1.1 {status} ", "Server: mayfly API", "Connection: keep-alive"]
        if is_deprecated:
            lines.append("Deprecation: true")
        if wanted:
            form = "application/json" if wanted[0] != "#" else "text/plain; version=0.0.4"
            lines += [f"Content-Type: {form}", f"Content-Length: {len(body.encode())}"]
        is_it = re.fullmatch(wanted[1:], body, re.S) if wanted[:1] in ("~", "#") else body == wanted
        if not is_it or head != "\r\n".join(lines):
            raise Wrong(f"{self.request} gave {head!r} {body!r}")
        why = self.schema.judge(*self.request, got, body)
        if why:
            raise Wrong(f"{self.request}: {why}")

    def ask(self, status, method, path, body=None, wanted=""):
        self.send(method, path, body)
        self.expect(status, wanted)

    def act(self, verb, *words):
        getattr(self, "act_" + verb)(*words)

    def act_start(self, guest="exits", *words):
        args = " ".join(words) or "spin"
        boot = {"kernel_image_path": f"{GUESTS}/{guest}.elf", "boot_args": args}
        self.ask(204, "PUT", "/boot-source", json.dumps(boot))
        self.ask(204, "PUT", "/actions", '{"action_type":"InstanceStart"}')

    def act_stall(self):
        self.output = os.pipe()
        os.set_blocking(self.output[1], False)
        try:
            while os.write(self.output[1], b"full"):
                pass
        except BlockingIOError:
            os.set_blocking(self.output[1], True)

    def act_drain(self, code):
        os.close(self.output[1])
        while os.read(self.output[0], 1 << 16):
            pass
        os.close(self.output[0])
        if self.server.wait(PATIENCE) != int(code):
            raise Wrong(f"it ended with {self.server.returncode}")

    def act_events(self):
        self.connect()
        self.events = Connection(self.path)
        self.events.send(b"GET /events HTTP/1.1\r\n\r\n")
        self.schema.seen.add(("GET", "/events"))
        while self.events.line() != "\r":
            pass

    def act_hold(self, number):
        if not self.server:
            self.start_server()
        for _ in range(int(number)):
            one = Connection(self.path)
            one.send(b"GET /version HTTP/1.1\r\n\r\n")
            if one.answer()[0] != 200:
                raise Wrong("a connection is not served")
            self.held.append(one)

    def act_anew(self):
        self.stop_server()
        self.connect()

    def act_again(self):
        self.send("GET", "/vm/config", None)
        before = self.connection.answer()[2]
        with open(self.folder + "/config", "w", encoding="utf-8") as file:
            file.write(before)
        self.stop_server()
        self.start_server(["--config-file", self.folder + "/config"])
        self.connect()
        self.send("GET", "/vm/config", None)
        after = self.connection.answer()[2]
        if before != after:
            raise Wrong(f"{before} has become {after}")

    def act_metrics(self, file):
        with open(file, encoding="utf-8") as lines:
            got = json.loads(lines.readlines()[-1])
        wanted = {}
        with open("tests/api/metrics", encoding="utf-8") as lines:
            for line in lines:
                group, _, keys = line.partition(":")
                if not line.startswith("#"):
                    wanted[group] = set(keys.split())
        spread = {}
        for group, value in got.items():
            spread[group] = set()
            for key, inner in value.items() if isinstance(value, dict) else ():
                is_latency = isinstance(inner, dict)
                if is_latency and list(inner) != ["min_us", "max_us", "sum_us"]:
                    raise Wrong(f"{group}.{key} has {list(inner)}")
                spread[group].add(key)
        if spread != wanted:
            raise Wrong(f"metrics: { {g: spread.get(g, set()) ^ wanted.get(g, set()) for g in {*spread, *wanted}} }")

    def act_log(self, *words):
        with open(self.folder + "/log", encoding="utf-8") as log:
            if " ".join(words) not in log.read():
                raise Wrong("the log does not say: " + " ".join(words))

    def line(self, line):
        sign, _, rest = line.replace("$T", self.folder).replace("$G", GUESTS).partition(" ")
        if sign == "+":
            self.options += shlex.split(rest)
        elif sign == "@":
            self.files = rest.split()
        elif sign == ">":
            method, path, *body = rest.split(" ", 2)
            body = body[0] if body else None
            if body and "`" in body:
                body = unescape(body).decode()
            self.send(method, path, body)
        elif sign in ("<", "<!"):
            status, _, body = rest.partition(" ")
            self.expect(int(status), body, sign == "<!")
        elif sign == ">>":
            self.connect().send(unescape(rest), self.files)
            self.files = []
        elif sign in ("<<", "<<."):
            wanted = unescape(rest)
            got = self.connection.take(len(wanted))
            if got != wanted:
                raise Wrong(f"came: {got!r}")
            if sign == "<<.":
                if not self.connection.ended():
                    raise Wrong("the connection does not end")
                self.connection = None
        elif sign == "<e":
            got = self.events.line()
            if got != rest:
                raise Wrong(f"event: {got}")
        elif sign == "!":
            self.act(*rest.split(" "))
        else:
            raise Wrong("no line of a case")


def stories(path):
    """(name, needs, lines with their numbers)"""
    found = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if line.startswith("= "):
                name, _, needs = line[2:].partition("; needs ")
                found.append((name, needs.replace(",", "").split(), []))
            elif line and not line.startswith("#"):
                found[-1][2].append((number, line))
    return found


def can_run_guests():
    command = [MAYFLY, "run", "--timeout", "20s", "--kernel", GUESTS + "/hello.elf"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, check=False, **quiet).returncode == 0


def tell(schema, name, lines):
    """None, or what is wrong."""
    with tempfile.TemporaryDirectory(prefix="mayfly-api.") as folder:
        for file, content in FILES.items():
            with open(folder + "/" + file, "wb") as out:
                out.write(content)
        story = Story(schema, name, folder)
        at = 0
        try:
            for at, line in lines:
                story.line(line)
            story.stop_server()
        except Exception as why:  # whatever it was, it is this story's failure
            return f"tests/api/cases:{at}: {type(why).__name__}: {why}"
        finally:
            story.kill_server()
    return None


def main():
    schema = Schema("api/openapi.yaml")
    has = {"guest": can_run_guests(), "tap": "HAS_TAPS" in os.environ}
    results, skipped = [], 0
    for name, needs, lines in stories("tests/api/cases"):
        missing = [need for need in needs if not has[need]]
        wrong = None if missing else tell(schema, name, lines)
        skipped += bool(missing)
        results.append(not wrong)
        print(f"{'not ' if wrong else ''}ok {len(results)} - {name}"
              + (f" # SKIP needs a {' and a '.join(missing)}" if missing else ""), flush=True)
        if wrong:
            print("# " + wrong.replace("\n", " "), flush=True)
    name = f"ok {len(results) + 1} - every request and field of api/openapi.yaml has its case"
    unseen = schema.unseen()
    if skipped:
        print(f"{name} # SKIP {skipped} of the stories were skipped")
    else:
        results.append(not unseen)
        print(("not " if unseen else "") + name)
        if unseen:
            print(f"# without a case: {unseen}")
    print(f"1..{len(stories('tests/api/cases')) + 1}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
