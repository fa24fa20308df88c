"""Many datagrams of a socket in one system call, see recvmmsg(2)."""

import ctypes
import errno
import socket

from shaper.linux.libc import IOVec, MMsgHdr, last_error, recvmmsg

# Where the length of each datagram stands in the array of mmsghdr, in 32-bit words.
_FIRST, _STEP = MMsgHdr.msg_len.offset // 4, ctypes.sizeof(MMsgHdr) // 4


class Datagrams:
    """Room for the datagrams of one call.

    Args:
        descriptor: the socket's.
        room: bytes for each datagram; longer ones are cut.
        most: datagrams in one call, at most.

    Attributes:
        slots: the room for each; datagrams fill them in order.
        memory: that of all slots, one behind the other.
        room: see above.
    """

    def __init__(self, descriptor: int, *, room: int, most: int) -> None:
        self.room = room
        self.memory = bytearray(room * most)
        whole = memoryview(self.memory)
        self.slots = [whole[start : start + room] for start in range(0, len(whole), room)]
        self._vectors = (IOVec * most)()
        messages = (MMsgHdr * most)()
        for slot, vector, message in zip(self.slots, self._vectors, messages, strict=True):
            vector.iov_base, vector.iov_len = ctypes.addressof(ctypes.c_char.from_buffer(slot)), room
            message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen = ctypes.pointer(vector), 1
        self._lengths = memoryview(messages).cast("B").cast("I")
        self._recvmmsg, self._arguments = recvmmsg(descriptor, messages, socket.MSG_DONTWAIT)

    def receive(self) -> int:
        """Take the datagrams that wait; returns how many.

        Raises:
            OSError: see recvmmsg(2).
        """
        count = self._recvmmsg(*self._arguments)
        if count >= 0:
            return count
        # To build an OSError each time that nothing waits would cost half a microsecond.
        if ctypes.get_errno() in (errno.EAGAIN, errno.EINTR):
            return 0
        raise last_error()

    def lengths(self, count: int) -> list[int]:
        """The lengths of the first of those taken last."""
        return self._lengths[_FIRST : count * _STEP : _STEP].tolist()
