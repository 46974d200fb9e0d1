"""Stands in for QEMU in unit tests: takes its arguments, speaks the guest's end of the channel, and misbehaves.

What it does is said by the kernel parameter ``fake=``, the last one given. A saved guest is its command line.
"""

import array
import json
import os
import pathlib
import signal
import socket
import sys
import threading
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


def inherited(name):
    fd = next((a for a in sys.argv if a.startswith(f"socket,id={name}")), "").rpartition("=")[2]
    return socket.socket(fileno=int(fd)) if fd else None


def restored():
    """The state of the guest that is to be restored, "" for one that boots."""
    return os.fdopen(int(value("-incoming").removeprefix("fd:"))).read() if "-incoming" in sys.argv else ""


def serve_monitor(connection, fake):
    """QMP, as far as saving a guest goes."""
    held = -1

    def say(**told):
        connection.sendall(json.dumps(told).encode() + b"\r\n")

    say(QMP={})
    while True:
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_LEN(4))
        if not data:
            return
        asked = json.loads(data)["execute"]
        for _, _, content in ancillary:
            held = array.array("i", content)[0]
        if fake == "monitor-dies":
            os._exit(3)
        if asked == "migrate" and fake == "unmigratable":
            say(error={"desc": "State blocked by non-migratable device"})
            continue
        say(**{"return": {"status": "postmigrate"} if asked == "query-status" else {}})
        if asked == "migrate":
            os.write(held, value("-append").encode())
            for status in ("setup", "active", "completed"):
                say(event="MIGRATION", data={"status": status})


def renewed(fake, body):
    """What a restored guest answers."""
    name = body.split(b"\0")[0].decode()
    return {
        "forgets-name": hello(renewed="another"),
        "swapped": frame("fail", b"renew: something is swapped out, to a disk that is not saved"),
        "other-release": hello(renewed=name, release="6.13.0"),
        "other-machine": hello(renewed=name, machine="aarch64"),
        "rude-later": frame("done"),
        "mute-restored": b"",
    }.get(fake) or hello(renewed=name)


def hello(**changes):
    said = {
        "protocol": 1,
        "release": "6.12.0",
        "version": "#1",
        "machine": "x86_64",
        "page_size": 4096,
        "cmdline": COMMAND_LINE,
        "notes": [],
    }
    return frame("hello", json.dumps(said | changes).encode())


def answer(fake, kind, argv):
    """What a guest says to a command. None: nothing."""
    if kind == "still":
        return frame("out", b"forged") if fake == "forged-exit" else frame("done")
    if kind == "file":
        return frame("fail", b"file /work/x: No space left on device") if fake == "full" else frame("done")
    return {
        "mute": b"",
        "killed": b"",
        "noise": b"this is no frame at all, whatever it is",
        "wrong": frame("hello", b"{}"),
        "strange-frame": frame("out", b"one") + frame("out", b"x") + ended(frames=1, bytes=3),
        "uncounted": frame("exit", b'{"status":0,"signal":null}'),
        "two-ends": frame("exit", b'{"status":1,"signal":9}'),
        "refuse": frame("fail", b"run x: Exec format error"),
        "flood": frame("out", bytes(1 << 20)) * 8,
        "panic": b"",
        "stall": b"",
    }.get(fake, frame("out", argv) + frame("err", b"oh") + ended(frames=2, bytes=len(argv) + 2))


def ended(**sent):
    return frame("exit", json.dumps({"status": 0, "signal": None, **sent}).encode())


def start(fake, console):
    """What happens before the channel is used: an exit status, or None to go on."""
    if "-incoming" in sys.argv:
        if fake != "dies-restored":
            return None
        sys.stderr.write("qemu: Unknown ramblock\n")
        return 1
    console.write("[    0.000000] Linux version 6.12.0\r\n")
    console.flush()
    if value("-accel") == "kvm" and fake != "kvm-works":
        sys.stderr.write("KVM internal error. Suberror: 1\n")
        sys.stderr.flush()
        time.sleep(600)
    if fake == "refused":
        sys.stderr.write("qemu: could not load kernel\n")
        return 1
    if fake == "console-floods":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # QEMU leaves it as it is, Python does not
    while fake == "console-floods":
        console.write("x" * 65536)
    if fake == "early-panic":
        console.write(KERNEL_SAYS["panic"])
    return 0 if fake in ("reset", "early-panic") else None


def serve(fake, channel, console):
    """Answer whatever comes, until the end; an exit status."""
    with channel.makefile("rb") as stream:
        while True:
            kind, body = take(stream)
            channel.sendall(renewed(fake, body) if kind == "renew" else answer(fake, kind, body))
            if kind == "run" and fake in KERNEL_SAYS:
                console.write(KERNEL_SAYS[fake])
                console.flush()
            if kind == "run" and fake == "panic":
                return 0
            if kind == "run" and fake == "killed":
                os.kill(os.getpid(), 9)


def main():
    if "--version" in sys.argv:
        print("QEMU emulator version 9.9.9 (fake)")
        return 0
    fake = COMMAND_LINE.rpartition("fake=")[2]
    log = next(a for a in sys.argv if a.startswith("file,id=console")).rpartition("path=")[2]
    with pathlib.Path(log).open("a") as console:
        status = start(fake, console)
        if status is not None:
            return status
        channel = inherited("channel")
        if monitor := inherited("monitor"):
            threading.Thread(target=serve_monitor, args=(monitor, fake), daemon=True).start()
        if fake == "silent":
            time.sleep(600)
        if "-incoming" not in sys.argv:
            channel.sendall({"old": hello(protocol=0), "rude": frame("out", b"x")}.get(fake) or hello())
        return serve(fake, channel, console)


COMMAND_LINE = restored() or (value("-append") if "-append" in sys.argv else "")
sys.exit(main())
