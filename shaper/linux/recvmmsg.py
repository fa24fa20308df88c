"""Many datagrams of a socket in one system call, see recvmmsg(2)."""

import ctypes
import errno
import os
import socket
from ctypes import POINTER, c_int, c_size_t, c_uint, c_void_p

# The call never waits here, so nothing is gained by letting other threads run meanwhile.
_libc = ctypes.PyDLL(None, use_errno=True)


class _Vector(ctypes.Structure):  # struct iovec
    _fields_ = (("base", c_void_p), ("length", c_size_t))


class _Header(ctypes.Structure):  # struct msghdr
    _fields_ = (
        ("name", c_void_p),
        ("name_length", c_uint),
        ("vectors", POINTER(_Vector)),
        ("vector_count", c_size_t),
        ("control", c_void_p),
        ("control_length", c_size_t),
        ("flags", c_int),
    )


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = (("header", _Header), ("length", c_uint))


# Where the length of each datagram stands in the array of mmsghdr, in 32-bit words.
_FIRST, _STEP = _Message.length.offset // 4, ctypes.sizeof(_Message) // 4


class Datagrams:
    """Room for the datagrams of one call.

    Args:
        descriptor: the socket.
        room: bytes for each; what is longer is cut.
        most: datagrams in one call, at most.

    Attributes:
        slots: where they stand: the n-th that came begins at the n-th.
    """

    def __init__(self, descriptor: int, *, room: int, most: int) -> None:
        whole = memoryview(bytearray(room * most))
        self.slots = [whole[start : start + room] for start in range(0, len(whole), room)]
        self._vectors = (_Vector * most)()
        self._messages = (_Message * most)()
        for slot, vector, message in zip(self.slots, self._vectors, self._messages, strict=True):
            vector.base, vector.length = ctypes.addressof(ctypes.c_char.from_buffer(slot)), room
            message.header.vectors, message.header.vector_count = ctypes.pointer(vector), 1
        self._lengths = memoryview(self._messages).cast("B").cast("I")
        self._arguments = (c_int(descriptor), self._messages, c_uint(most), c_int(socket.MSG_DONTWAIT), None)

    def receive(self) -> list[int]:
        """Take what has come; returns the length of each datagram.

        Raises:
            OSError: see recvmmsg(2).
        """
        count: int = _libc.recvmmsg(*self._arguments)
        if count >= 0:
            return self._lengths[_FIRST : count * _STEP : _STEP].tolist()
        error = ctypes.get_errno()
        if error in (errno.EAGAIN, errno.EINTR):
            return []
        raise OSError(error, os.strerror(error))
