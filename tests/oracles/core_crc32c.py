"""CRC-32C bit by bit, as RFC 3720 appendix B.4 defines it."""


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C of `data`, continuing `crc`; unsigned 32 bits."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
