"""Adaptive binary range coding, all integers: bits <-> bytes under contexts that learn.

`clc.bitstream.mesh_coder` and `clc.bitstream.regions` code an alignment's mesh and map here: few numbers, most of them
alike. A coder for each direction has the same `code`, so that one walk over the numbers serves both.

A range decoder accepts many byte strings for the same bits. Who needs one encoding for each content encodes again what
was read, and compares.

Ledger of bit widths: probabilities 16 bits, kept within 2**-7 of 0 and 1; interval 32 bits, at least 2**24.
"""

_ONE = 1 << 16  # a probability of 1
_LEAST_PROBABILITY = _ONE >> 7
_RATES = [_ONE // (n + 2) for n in range(40)]  # of adaptation: nearly a mean at first, 1/41 in the long run
_LEAST_RANGE = 1 << 24  # a shorter interval is scaled up by a byte
_WORD = 1 << 32


class BinaryCoder:
    """Adaptive probabilities of a 0, one for each context; a subclass for each direction has `code`."""

    def __init__(self, n_contexts: int) -> None:
        self.probabilities = [_ONE >> 1] * n_contexts
        self.counts = [0] * n_contexts
        self.range = _WORD - 1

    def code(self, context: int, bit: int) -> int:
        """Code a bit: an encoder writes and returns `bit`, a decoder ignores it and returns the one that it reads."""
        raise NotImplementedError

    def adapt(self, context: int, bit: int) -> None:
        """Move a context's probability of a zero, in 1 / 65,536, towards a bit: fast at first, then slower."""
        count = self.counts[context]
        probability = self.probabilities[context]
        probability += ((0 if bit else _ONE) - probability) * _RATES[count] >> 16
        self.probabilities[context] = min(max(probability, _LEAST_PROBABILITY), _ONE - _LEAST_PROBABILITY)
        if count + 1 < len(_RATES):
            self.counts[context] = count + 1


class BinaryEncoder(BinaryCoder):
    """Writes bits; `finish` gives the bytes."""

    def __init__(self, n_contexts: int) -> None:
        super().__init__(n_contexts)
        self.low = 0
        self.out = bytearray()

    def code(self, context: int, bit: int) -> int:
        """Write a bit, 0 or 1, by the probability of its context; the bit itself."""
        bound = (self.range >> 16) * self.probabilities[context]
        if bit:
            self.low += bound
            self.range -= bound
        else:
            self.range = bound
        self.adapt(context, bit)
        while self.range < _LEAST_RANGE:
            self._shift()
            self.range <<= 8
        return bit

    def _shift(self) -> None:
        """Write the highest byte of `low`, after adding its carry to the bytes written before."""
        if self.low >= _WORD:
            at = len(self.out) - 1
            while self.out[at] == 255:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1
            self.low -= _WORD
        self.out.append(self.low >> 24)
        self.low = self.low << 8 & _WORD - 1

    def finish(self) -> bytes:
        """Return all bytes: the shortest string that, continued with zeros, lies within the interval."""
        for n_zeros in range(31, -1, -1):
            rounded = -(-self.low >> n_zeros) << n_zeros
            if rounded < self.low + self.range:
                self.low = rounded
                break
        for _ in range(4):
            self._shift()
        return bytes(self.out).rstrip(b"\x00")


class BinaryDecoder(BinaryCoder):
    """Reads the bits that an encoder wrote to `data`, continued with zeros; it never fails, whatever the bytes."""

    def __init__(self, data: bytes, n_contexts: int) -> None:
        super().__init__(n_contexts)
        self.data = data
        self.position = 4
        self.offset = int.from_bytes(data[:4].ljust(4, b"\x00"), "big")

    def code(self, context: int, bit: int) -> int:
        """Read a bit by the probability of its context; the bit that is given is not looked at."""
        bound = (self.range >> 16) * self.probabilities[context]
        bit = int(self.offset >= bound)
        if bit:
            self.offset -= bound
            self.range -= bound
        else:
            self.range = bound
        self.adapt(context, bit)
        while self.range < _LEAST_RANGE:
            follows = self.data[self.position] if self.position < len(self.data) else 0
            self.offset = self.offset << 8 | follows
            self.range <<= 8
            self.position += 1
        return bit
