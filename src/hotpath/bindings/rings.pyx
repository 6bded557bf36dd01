# cython: language_level=3, embedsignature=True, binding=False
"""Rings over shared memory from Python: zero-copy numpy views, and a producer and consumer that speak the
engine's layout (core/ring_spsc.h, core/ring_broadcast.h).

The memory is anything with the buffer protocol: an mmap, a region of `hotpath._core.Segment`, a file. A view
keeps the memory mapped, but its slots belong to the other side again after consume() or commit(): copy what
is to be kept.

    ring = SpscRing.create("ticks", slot_bytes=64, slot_count=1024)      # one process
    ring.push_many(events)                                               # structured array, 64-byte items
    other = SpscRing.open("ticks")                                       # another process
    view = other.peek_array(256, EVENT_DTYPE); ...; other.consume(len(view))
"""

from cpython.buffer cimport (PyBUF_CONTIG, PyBUF_CONTIG_RO, PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE,
                             PyBuffer_Release, PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import mmap as _mmap


cdef extern from "core/error.h" namespace "peregrine" nogil:
    cdef cppclass Error:
        char text[320]
        bint failed()


cdef extern from "core/ring_spsc.h" namespace "peregrine" nogil:
    cdef cppclass CSpscRing "peregrine::SpscRing":
        CSpscRing()
        @staticmethod
        uint64_t bytes_needed(uint32_t slot_bytes, uint64_t slot_count)
        @staticmethod
        Error create(void* memory, uint64_t size, uint32_t slot_bytes, uint64_t slot_count, CSpscRing& out)
        @staticmethod
        Error attach(void* memory, uint64_t size, CSpscRing& out)
        uint64_t capacity()
        uint32_t slot_bytes()
        uint64_t written()
        uint64_t consumed()
        uint64_t refused()
        uint64_t size()
        uint8_t* slots()
        uint64_t try_reserve_n(uint64_t n, uint8_t*& first)
        void commit(uint64_t n)
        bint try_push(const void* data, uint64_t size)
        uint64_t peek_n(uint64_t n, const uint8_t*& first)
        void consume(uint64_t n)


cdef extern from "core/ring_broadcast.h" namespace "peregrine" nogil:
    cdef cppclass CBroadcastShape "peregrine::BroadcastShape":
        @staticmethod
        uint64_t bytes_needed(uint32_t slot_bytes, uint64_t slot_count)

    cdef cppclass CBroadcastWriter "peregrine::BroadcastWriter":
        CBroadcastWriter()
        @staticmethod
        Error create(void* memory, uint64_t size, uint32_t slot_bytes, uint64_t slot_count, CBroadcastWriter& out)
        @staticmethod
        Error attach(void* memory, uint64_t size, CBroadcastWriter& out)
        uint64_t capacity()
        uint32_t payload_bytes()
        uint64_t published()
        void publish(const void* data, uint64_t size)

    enum CFrom "peregrine::BroadcastReader::From":
        kOldest "peregrine::BroadcastReader::From::kOldest"
        kNow "peregrine::BroadcastReader::From::kNow"

    cdef cppclass CBroadcastReader "peregrine::BroadcastReader":
        CBroadcastReader()
        @staticmethod
        Error attach(const void* memory, uint64_t size, CBroadcastReader& out, CFrom begin)
        uint64_t capacity()
        uint32_t payload_bytes()
        uint64_t position()
        uint64_t lost()
        uint64_t published()
        bint poll(void* out)


class RingError(RuntimeError):
    """The memory holds no such ring, or its shape does not fit; the text says what was found and expected."""


cdef int _raise_if(Error error) except -1:
    if error.failed():
        raise RingError((<bytes>error.text).decode("utf-8", "replace"))
    return 0


cdef class _Memory:
    """Somebody's buffer, held for as long as a ring or a view needs it."""

    cdef Py_buffer view
    cdef bint held
    cdef readonly bint writable
    cdef readonly object source

    def __cinit__(self, source, bint write):
        self.held = False
        PyObject_GetBuffer(source, &self.view, PyBUF_CONTIG if write else PyBUF_CONTIG_RO)
        self.held = True
        self.writable = write
        self.source = source

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef class _Slots:
    """A run of slots as bytes, by the buffer protocol."""

    cdef _Memory memory
    cdef uint8_t* at
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]
    cdef bint writable

    def __getbuffer__(self, Py_buffer* view, int flags):
        if flags & PyBUF_WRITABLE and not self.writable:
            raise BufferError("these slots are read-only")
        view.buf = self.at
        view.obj = self
        view.len = self.shape[0]
        view.itemsize = 1
        view.readonly = not self.writable
        view.ndim = 1
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = b"B"
        view.shape = view.strides = NULL
        if flags & PyBUF_ND:
            view.shape = &self.shape[0]
        if (flags & PyBUF_STRIDES) == PyBUF_STRIDES:
            view.strides = &self.strides[0]
        view.suboffsets = view.internal = NULL


cdef object _slots_view(_Memory memory, uint8_t* at, Py_ssize_t size, bint writable):
    cdef _Slots s = _Slots.__new__(_Slots)
    s.memory = memory
    s.at = at
    s.shape[0] = size
    s.strides[0] = 1
    s.writable = writable
    return memoryview(s)


def _as_array(view, Py_ssize_t n, Py_ssize_t stride, dtype):
    """n items of `dtype`, one at the start of each `stride` bytes of `view`, without a copy."""
    import numpy as np

    dtype = np.dtype(dtype)
    if dtype.itemsize > stride:
        raise ValueError(f"dtype has {dtype.itemsize} bytes, a slot holds {stride}")
    if n == 0:
        return np.empty(0, dtype)
    return np.ndarray((n,), dtype, buffer=view, strides=(stride,))


cdef class SpscRing:
    """Single-producer single-consumer ring of fixed slots.

    SpscRing(memory, slot_bytes=…, slot_count=…) formats `memory` (writable, aligned to 64 bytes) as an empty ring;
    SpscRing(memory) takes up one that is there. slot_bytes is a multiple of 64, slot_count a power of two. One
    process or thread produces, one consumes; full is an answer (False, 0, None), never a wait. Raises RingError.
    """

    cdef CSpscRing ring
    cdef _Memory memory
    cdef uint64_t reserved
    cdef uint64_t peeked
    cdef readonly object segment

    def __cinit__(self, memory, *, slot_bytes=None, slot_count=None):
        if (slot_bytes is None) != (slot_count is None):
            raise TypeError("slot_bytes and slot_count go together: both to make a ring, none to take one up")
        self.memory = _Memory(memory, True)
        self.reserved = self.peeked = 0
        if slot_bytes is None:
            _raise_if(CSpscRing.attach(self.memory.view.buf, self.memory.view.len, self.ring))
        else:
            _raise_if(CSpscRing.create(self.memory.view.buf, self.memory.view.len, slot_bytes, slot_count, self.ring))

    @staticmethod
    def bytes_needed(uint32_t slot_bytes, uint64_t slot_count):
        """Bytes of memory for a ring, header included."""
        return CSpscRing.bytes_needed(slot_bytes, slot_count)

    @classmethod
    def anonymous(cls, *, uint32_t slot_bytes, uint64_t slot_count):
        """A ring in an anonymous mapping, shared with threads and forked children."""
        memory = _mmap.mmap(-1, CSpscRing.bytes_needed(slot_bytes, slot_count))
        return cls(memory, slot_bytes=slot_bytes, slot_count=slot_count)

    @classmethod
    def create(cls, name, *, uint32_t slot_bytes, uint64_t slot_count, epoch=0):
        """A ring in the region "ring" of a new segment /dev/shm/peregrine.<name>; `ring.segment` owns the name."""
        from hotpath import _core

        size = CSpscRing.bytes_needed(slot_bytes, slot_count)
        segment = _core.Segment.create(name, [_core.RegionSpec("ring", size, _core.RegionKind.SPSC_RING)], epoch=epoch)
        cdef SpscRing ring = cls(segment.region("ring"), slot_bytes=slot_bytes, slot_count=slot_count)
        ring.segment = segment
        return ring

    @classmethod
    def open(cls, name, region="ring"):
        """The ring in a region of a segment that another process made."""
        from hotpath import _core

        segment = _core.Segment.attach(name, write=True)
        cdef SpscRing ring = cls(segment.region(region))
        ring.segment = segment
        return ring

    @property
    def capacity(self):
        """Number of slots."""
        return self.ring.capacity()

    @property
    def slot_bytes(self):
        """Bytes of a slot."""
        return self.ring.slot_bytes()

    @property
    def written(self):
        """Slots published since the start."""
        return self.ring.written()

    @property
    def consumed(self):
        """Slots given back since the start."""
        return self.ring.consumed()

    @property
    def refused(self):
        """How often a producer found the ring full."""
        return self.ring.refused()

    def __len__(self):
        return self.ring.size()

    @property
    def slots(self):
        """All slots as a read-only memoryview, whatever they hold: for looking, not for consuming."""
        return _slots_view(self.memory, self.ring.slots(), self.ring.capacity() * self.ring.slot_bytes(), False)

    # ---- producer ----

    def push(self, data):
        """Copy a buffer of at most slot_bytes bytes into the next slot, the rest of it zero. False: full."""
        cdef _Memory source = _Memory(data, False)
        if <uint64_t>source.view.len > self.ring.slot_bytes():
            raise ValueError(f"{source.view.len} bytes do not fit into a slot of {self.ring.slot_bytes()}")
        self.reserved = 0
        return self.ring.try_push(source.view.buf, source.view.len)

    def push_many(self, items):
        """Copy as many whole slots from a contiguous buffer as there is room for; returns how many.

        The buffer's size must be a multiple of slot_bytes (e.g. an array of a dtype of slot_bytes bytes).
        """
        cdef _Memory source = _Memory(items, False)
        cdef uint64_t slot = self.ring.slot_bytes()
        if <uint64_t>source.view.len % slot != 0:
            raise ValueError(f"{source.view.len} bytes are no whole number of slots of {slot}")
        cdef uint64_t wanted = <uint64_t>source.view.len // slot, done = 0, got
        cdef const uint8_t* at = <const uint8_t*>source.view.buf
        cdef uint8_t* first = NULL
        self.reserved = 0
        with nogil:
            while done < wanted:
                got = self.ring.try_reserve_n(wanted - done, first)
                if got == 0:
                    break
                memcpy(first, at + done * slot, got * slot)
                self.ring.commit(got)
                done += got
        return done

    def reserve(self, uint64_t n=1):
        """Up to n free slots as a writable memoryview (fewer at the wrap), or None when full; then commit()."""
        cdef uint8_t* first = NULL
        self.reserved = self.ring.try_reserve_n(n, first)
        if self.reserved == 0:
            return None
        return _slots_view(self.memory, first, self.reserved * self.ring.slot_bytes(), True)

    def reserve_array(self, uint64_t n, dtype):
        """Like reserve(), as a writable array of `dtype`, one item a slot; empty when full."""
        view = self.reserve(n)
        return _as_array(view, self.reserved, self.ring.slot_bytes(), dtype)

    def commit(self, uint64_t n=1):
        """Publish the first n reserved slots. ValueError when fewer are reserved."""
        if n > self.reserved:
            raise ValueError(f"commit of {n} slots, {self.reserved} are reserved")
        self.reserved -= n
        self.ring.commit(n)

    # ---- consumer ----

    def peek(self, uint64_t n=1):
        """Up to n held slots, oldest first, as a read-only memoryview (fewer at the wrap), or None when empty."""
        cdef const uint8_t* first = NULL
        self.peeked = self.ring.peek_n(n, first)
        if self.peeked == 0:
            return None
        return _slots_view(self.memory, <uint8_t*>first, self.peeked * self.ring.slot_bytes(), False)

    def peek_array(self, uint64_t n, dtype):
        """Like peek(), as a read-only array of `dtype`, one item a slot, without a copy; valid until consume()."""
        view = self.peek(n)
        return _as_array(view, self.peeked, self.ring.slot_bytes(), dtype)

    def consume(self, uint64_t n=1):
        """Give the first n peeked slots back. ValueError when fewer are peeked."""
        if n > self.peeked:
            raise ValueError(f"consume of {n} slots, {self.peeked} are peeked")
        self.peeked -= n
        self.ring.consume(n)

    def pop(self):
        """The oldest slot as bytes, or None when empty."""
        out = self.pop_many(1)
        return out if out else None

    def pop_many(self, uint64_t n):
        """Up to n slots as one bytes object (also across the wrap), consumed."""
        cdef uint64_t slot = self.ring.slot_bytes(), held = self.ring.size()
        n = min(n, held)
        out = PyBytes_FromStringAndSize(NULL, n * slot)
        self._copy_out(<uint8_t*>PyBytes_AS_STRING(out), n)
        return out

    def pop_array(self, uint64_t n, dtype):
        """Up to n slots as a new array of `dtype` (a copy, also across the wrap), consumed."""
        out = self.pop_many(n)
        return _as_array(out, len(out) // self.ring.slot_bytes(), self.ring.slot_bytes(), dtype)

    def pop_into(self, out):
        """Fill a writable contiguous buffer with whole slots; returns how many were consumed."""
        cdef _Memory target = _Memory(out, True)
        cdef uint64_t n = min(<uint64_t>target.view.len // self.ring.slot_bytes(), self.ring.size())
        self._copy_out(<uint8_t*>target.view.buf, n)
        return n

    cdef int _copy_out(self, uint8_t* out, uint64_t n) except -1:
        cdef uint64_t slot = self.ring.slot_bytes(), done = 0, got
        cdef const uint8_t* first = NULL
        self.peeked = 0
        with nogil:
            while done < n:
                got = self.ring.peek_n(n - done, first)
                memcpy(out + done * slot, first, got * slot)
                self.ring.consume(got)
                done += got
        return 0


cdef class BroadcastWriter:
    """The one writer of a broadcast ring; never waits, readers that are too slow lose messages and count them.

    With slot_bytes (a multiple of 64, 8 of which are a stamp) and slot_count (a power of two from 2 on) it formats
    `memory`, without them it takes up the ring that is there. Raises RingError.
    """

    cdef CBroadcastWriter ring
    cdef _Memory memory

    def __cinit__(self, memory, *, slot_bytes=None, slot_count=None):
        if (slot_bytes is None) != (slot_count is None):
            raise TypeError("slot_bytes and slot_count go together: both to make a ring, none to take one up")
        self.memory = _Memory(memory, True)
        if slot_bytes is None:
            _raise_if(CBroadcastWriter.attach(self.memory.view.buf, self.memory.view.len, self.ring))
        else:
            _raise_if(CBroadcastWriter.create(self.memory.view.buf, self.memory.view.len, slot_bytes, slot_count,
                                              self.ring))

    @staticmethod
    def bytes_needed(uint32_t slot_bytes, uint64_t slot_count):
        """Bytes of memory for a ring, header included."""
        return CBroadcastShape.bytes_needed(slot_bytes, slot_count)

    @classmethod
    def anonymous(cls, *, uint32_t slot_bytes, uint64_t slot_count):
        """A writer over a new anonymous mapping; readers attach to `writer.source`."""
        memory = _mmap.mmap(-1, CBroadcastShape.bytes_needed(slot_bytes, slot_count))
        return cls(memory, slot_bytes=slot_bytes, slot_count=slot_count)

    @property
    def source(self):
        """The memory that the ring lies in."""
        return self.memory.source

    @property
    def capacity(self):
        """Number of slots."""
        return self.ring.capacity()

    @property
    def payload_bytes(self):
        """Bytes of a message: slot_bytes - 8."""
        return self.ring.payload_bytes()

    @property
    def published(self):
        """Messages published since the start."""
        return self.ring.published()

    def publish(self, data):
        """Publish a buffer of at most payload_bytes bytes, the rest zero."""
        cdef _Memory source = _Memory(data, False)
        if <uint64_t>source.view.len > self.ring.payload_bytes():
            raise ValueError(f"{source.view.len} bytes do not fit into a payload of {self.ring.payload_bytes()}")
        self.ring.publish(source.view.buf, source.view.len)

    def publish_many(self, items, uint64_t item_bytes):
        """Publish a contiguous buffer as messages of item_bytes each (at most payload_bytes); returns how many."""
        cdef _Memory source = _Memory(items, False)
        if item_bytes == 0 or item_bytes > self.ring.payload_bytes() or <uint64_t>source.view.len % item_bytes != 0:
            raise ValueError(f"{source.view.len} bytes in items of {item_bytes}: expected whole items of at most "
                             f"{self.ring.payload_bytes()}")
        cdef uint64_t n = <uint64_t>source.view.len // item_bytes, i
        cdef const uint8_t* at = <const uint8_t*>source.view.buf
        with nogil:
            for i in range(n):
                self.ring.publish(at + i * item_bytes, item_bytes)
        return n


cdef class BroadcastReader:
    """A reader of a broadcast ring over memory that may be read-only.

    Begins with the oldest message still there, or with the next one when from_now. Messages that were overwritten
    before they were read are counted in `lost`, never handed out torn. Raises RingError.
    """

    cdef CBroadcastReader ring
    cdef _Memory memory
    cdef readonly object segment

    def __cinit__(self, memory, *, bint from_now=False):
        self.memory = _Memory(memory, False)
        _raise_if(CBroadcastReader.attach(self.memory.view.buf, self.memory.view.len, self.ring,
                                          kNow if from_now else kOldest))

    @classmethod
    def open(cls, name, region, *, from_now=False):
        """A reader of a region of the named segment, attached read-only."""
        from hotpath import _core

        segment = _core.Segment.attach(name)
        cdef BroadcastReader reader = cls(segment.region(region), from_now=from_now)
        reader.segment = segment
        return reader

    @property
    def payload_bytes(self):
        """Bytes of a message."""
        return self.ring.payload_bytes()

    @property
    def position(self):
        """Number of the message that comes next; received + lost = position (for a reader from the start)."""
        return self.ring.position()

    @property
    def lost(self):
        """Messages overwritten before they were read."""
        return self.ring.lost()

    def poll(self):
        """The next message as bytes of payload_bytes, or None."""
        out = self.poll_many(1)
        return out if out else None

    def poll_many(self, uint64_t n):
        """Up to n messages as one bytes object."""
        cdef uint64_t size = self.ring.payload_bytes(), done = 0
        cdef bytearray out = bytearray(min(n, self.ring.capacity()) * size)
        cdef uint8_t* at = <uint8_t*><char*>out
        cdef uint64_t room = <uint64_t>len(out) // size
        with nogil:
            while done < room and self.ring.poll(at + done * size):
                done += 1
        return bytes(out[:done * size])

    def poll_array(self, uint64_t n, dtype):
        """Up to n messages as an array of `dtype` (at most payload_bytes bytes an item)."""
        out = self.poll_many(n)
        return _as_array(out, len(out) // self.ring.payload_bytes(), self.ring.payload_bytes(), dtype)
