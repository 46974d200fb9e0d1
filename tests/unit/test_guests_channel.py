"""The host's end of the channel against honest and hostile guests."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guests.channel import (
    FRAME_LIMIT,
    FROM_GUEST,
    Channel,
    ChannelClosed,
    DeadlinePassed,
    Frame,
    FrameDecoder,
    ProtocolError,
    encode,
)
from harness.guests.handshake import parse_hello

frames = st.lists(st.builds(Frame, st.sampled_from(sorted(FROM_GUEST)), st.binary(max_size=300)), max_size=8)


@given(frames, st.data())
def test_frames_survive_being_cut_anywhere(sent, data):
    stream = b"".join(encode(frame) for frame in sent)
    decoder = FrameDecoder()
    received = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


@given(st.binary(max_size=400))
def test_any_bytes_give_frames_or_a_protocol_error(noise):
    try:
        for frame in FrameDecoder().feed(noise):
            assert frame.kind in FROM_GUEST
    except ProtocolError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    "noise",
    [
        b"\n",
        b"out\n",
        b"out -1\n",
        b"out 1_0\n",
        b"out \xd9\xa3\n",
        b"OUT 1\n",
        b"run 1\n",  # a host's word, not a guest's
        b"out 16777217\n",
        b"out 00000000000000000000000000000000000000001\n",
        b"x" * 32,
    ],
)
def test_no_frame(noise):
    with pytest.raises(ProtocolError):
        FrameDecoder().feed(noise)


def test_a_header_is_waited_for_only_so_long():
    decoder = FrameDecoder()
    assert decoder.feed(b"o" * 31) == []
    with pytest.raises(ProtocolError):
        decoder.feed(b"o")


def test_the_largest_frame_and_one_more():
    body = bytes(FRAME_LIMIT)
    assert FrameDecoder().feed(encode(Frame("out", body))) == [Frame("out", body)]
    with pytest.raises(ValueError, match="at most"):
        encode(Frame("file", body + b"x"))


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def never(fd: int) -> None:
    raise AssertionError(f"nothing was watched, yet {fd} spoke")


def test_receive_gives_frame_after_frame(pair):
    channel, guest = pair
    guest.sendall(b"out 1\naerr 2\nbbex")
    assert channel.receive(soon(), never) == Frame("out", b"a")
    assert channel.receive(soon(), never) == Frame("err", b"bb")
    guest.sendall(b"it 0\n")
    assert channel.receive(soon(), never) == Frame("exit")


def test_a_deadline_holds_however_the_guest_trickles(pair):
    channel, guest = pair
    guest.sendall(b"out 10\n123")
    with pytest.raises(DeadlinePassed):
        channel.receive(soon(0.02), never)


def test_a_guest_that_hangs_up(pair):
    channel, guest = pair
    guest.sendall(b"out 3\nabcout 9\nabc")
    guest.close()
    assert channel.receive(soon(), never) == Frame("out", b"abc")
    with pytest.raises(ChannelClosed):
        channel.receive(soon(), never)
    with pytest.raises(ChannelClosed):
        channel.send(Frame("run", b"x"), soon())


def test_a_guest_that_does_not_read_meets_the_deadline(pair):
    channel, _ = pair
    with pytest.raises(DeadlinePassed):
        channel.send(Frame("file", bytes(FRAME_LIMIT)), soon(0.05))


def test_send_goes_on_when_the_guest_reads_slowly(pair):
    channel, guest = pair
    body = bytes(4 << 20)
    received = bytearray()

    def read() -> None:
        while len(received) < len(encode(Frame("file", body))):
            received.extend(guest.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    channel.send(Frame("file", body), soon())
    reader.join()
    assert bytes(received) == encode(Frame("file", body))


def test_others_are_heard_while_waiting(pair):
    channel, guest = pair
    complaint, voice = socket.socketpair()
    heard = []

    def listen(fd: int) -> None:
        heard.append(complaint.recv(100))
        channel.unwatch(fd)
        guest.sendall(encode(Frame("done")))

    with complaint, voice:
        channel.watch(complaint.fileno())
        voice.sendall(b"oh no")
        assert channel.receive(soon(), listen) == Frame("done")
    assert heard == [b"oh no"]


HELLO = {
    "protocol": 1,
    "release": "6.12.1",
    "version": "#1 SMP",
    "machine": "x86_64",
    "page_size": 4096,
    "cmdline": "panic=-1",
    "notes": ["mount /dev/shm: No such device"],
}


def test_hello():
    hello = parse_hello(json.dumps(HELLO).encode())
    assert (hello.release, hello.page_size) == ("6.12.1", 4096)
    assert hello.notes == ("mount /dev/shm: No such device",)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"protocol": 2}, "speaks protocol 2"),
        ({"protocol": None}, "speaks protocol None"),
        ({"release": 6}, "release"),
        ({"page_size": "4096"}, "page_size"),
        ({"page_size": True}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"notes": "none"}, "notes"),
        ({"notes": [1]}, "notes"),
        ({"machine": None, "cmdline": []}, "machine and cmdline"),
    ],
)
def test_hello_with_something_wrong(change, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        parse_hello(json.dumps(HELLO | change).encode())


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"1", b"{" * 100000, b'{"protocol":1}'])
def test_hello_that_is_none(body):
    with pytest.raises(ProtocolError):
        parse_hello(body)
