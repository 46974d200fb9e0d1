"""Stands in for QEMU in unit tests: takes its arguments, speaks the guest's end of the channel, and misbehaves.

What it does is said by the kernel parameter ``fake=``, the last one given.
"""

import json
import os
import pathlib
import socket
import sys
import time

KERNEL_SAYS = {
    "panic": "[    1.000000] Kernel panic - not syncing: fake\r\n",
    "stall": "[    1.000000] rcu: INFO: rcu_preempt self-detected stall on CPU\r\n",
}


def value(name):
    return sys.argv[sys.argv.index(name) + 1]


def frame(kind, body=b""):
    return b"%s %d\n%s" % (kind.encode(), len(body), body)


def take(stream):
    kind, length = stream.readline().split()
    return kind.decode(), stream.read(int(length))


def hello(**changes):
    said = {
        "protocol": 1,
        "release": "6.12.0",
        "version": "#1",
        "machine": "x86_64",
        "page_size": 4096,
        "cmdline": value("-append"),
        "notes": [],
    }
    return frame("hello", json.dumps(said | changes).encode())


def answer(fake, kind, argv):
    """What a guest says to a command. None: nothing."""
    if kind == "file":
        return frame("fail", b"file /work/x: No space left on device") if fake == "full" else frame("done")
    return {
        "mute": b"",
        "killed": b"",
        "noise": b"this is no frame at all, whatever it is",
        "wrong": frame("hello", b"{}"),
        "two-ends": frame("exit", b'{"status":1,"signal":9}'),
        "refuse": frame("fail", b"run x: Exec format error"),
        "flood": frame("out", bytes(1 << 20)) * 8,
        "panic": b"",
        "stall": b"",
    }.get(fake, frame("out", argv) + frame("err", b"oh") + frame("exit", b'{"status":0,"signal":null}'))


def main():
    if "--version" in sys.argv:
        print("QEMU emulator version 9.9.9 (fake)")
        return 0
    fake = value("-append").rpartition("fake=")[2]
    log = next(a for a in sys.argv if a.startswith("file,id=console")).rpartition("path=")[2]
    with pathlib.Path(log).open("a") as console:
        console.write("[    0.000000] Linux version 6.12.0\r\n")
        console.flush()
        if value("-accel") == "kvm" and fake != "kvm-works":
            sys.stderr.write("KVM internal error. Suberror: 1\n")
            sys.stderr.flush()
            time.sleep(600)
        if fake == "refused":
            sys.stderr.write("qemu: could not load kernel\n")
            return 1
        if fake == "reset":
            return 0
        if fake == "early-panic":
            console.write(KERNEL_SAYS["panic"])
            return 0
        fd = int(next(a for a in sys.argv if a.startswith("socket,id=channel")).rpartition("=")[2])
        channel = socket.socket(fileno=fd)
        if fake == "silent":
            time.sleep(600)
        channel.sendall({"old": hello(protocol=0), "rude": frame("out", b"x")}.get(fake) or hello())
        with channel.makefile("rb") as stream:
            while True:
                kind, body = take(stream)
                channel.sendall(answer(fake, kind, body))
                if kind == "run" and fake in KERNEL_SAYS:
                    console.write(KERNEL_SAYS[fake])
                    console.flush()
                if kind == "run" and fake == "panic":
                    return 0
                if kind == "run" and fake == "killed":
                    os.kill(os.getpid(), 9)


sys.exit(main())
