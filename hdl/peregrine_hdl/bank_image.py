"""The image of a weight bank: policies of a set as the stream of 32-bit words that a loadable core takes. Plain Python.

    word 0                     what the image was packed for: version 8 | slots 8 | lanes 16
    five sections, in order    each a head word, count of words 24 | region 8, and that many words, at least one

    region 0  slots       one word a slot, all slots of the build
                            first_layer 8 | layers 8 | inputs 8 | zero 7 | valid 1; a slot that holds nothing is 0
    region 1  layers      two words a layer, the layers of a policy one after the other
                            inputs 8 | outputs 8 | relu 1 | zero 15
                            first weight row 16 | first channel row 16
    region 2  quantiser   64 words a slot, one an input; 0 where a slot has fewer
                            m 16 signed | s 6 | zero 10
    region 3  channels    rows of `lanes` words, for each layer one row a group of `lanes` outputs; 0 beyond the outputs
                            bias 25 signed | shift 5 | zero 2
                            hidden layer: bias + (1 << (shift - 1)), the half that rounds; last layer: bias, shift 0
    region 4  weights     rows of `lanes` int8, lane 0 in the low byte of the row's first word: for each layer, for each
                            group of `lanes` outputs, for each input a row; 0 beyond the outputs

Fields are written from bit 0 up. The packer puts policies one after the other in slot order without a gap, so the same
policies always make the same words. The CRC is zlib's CRC-32 over all words, little endian.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from hotpath.policy.oracle import Layer, Network
from peregrine_hdl.loadable_limits import Limits, channel_rows_of, groups_of, weight_rows_of
from peregrine_hdl.registers import MAX_INPUTS, MAX_LAYERS, MAX_OUTPUTS, MAX_WIDTH

IMAGE_VERSION = 1
REGIONS = ("slots", "layers", "quantiser", "channels", "weights")
SLOTS, LAYERS, QUANTISER, CHANNELS, WEIGHTS = range(5)
SLOT_VALID = 1 << 31
RELU = 1 << 16
BIAS_BITS, CHANNEL_BITS, QUANTISER_BITS = 25, 30, 22
MAX_QUANTISER_SHIFT, MAX_CHANNEL_SHIFT = 46, 24


class ImageError(ValueError):
    """Policies that do not fit the build, or words that are no image of it: what was found and what was expected."""


def identity(limits: Limits) -> int:
    """Word 0 of every image of this build."""
    return IMAGE_VERSION | limits.slots << 8 | limits.lanes << 16


def words_of(region: int, limits: Limits) -> int:
    """Words that a region's memory holds."""
    return (
        limits.slots,
        2 * limits.layer_entries,
        MAX_INPUTS * limits.slots,
        limits.lanes * limits.channel_rows,
        limits.columns * limits.weight_rows,
    )[region]


def unit_of(region: int, limits: Limits) -> int:
    """A section's count is a multiple of this."""
    return (limits.slots, 2, MAX_INPUTS * limits.slots, limits.lanes, limits.columns)[region]


def max_words(limits: Limits) -> int:
    """Words of the longest image."""
    return 1 + sum(1 + words_of(region, limits) for region in range(len(REGIONS)))


def crc(words: Sequence[int] | np.ndarray) -> int:
    """zlib's CRC-32 over the words, little endian."""
    return zlib.crc32(np.asarray(words, "<u4").tobytes())


def pack(networks: Sequence[Network | None], limits: Limits) -> np.ndarray:
    """uint32[words]: the image of `networks` in slot order, None where a slot is empty. Raises ImageError."""
    if not 1 <= len(networks) <= limits.slots:
        raise ImageError(f"policies: found {len(networks)}, expected 1..{limits.slots}, the slots of the build")
    slots = np.zeros(limits.slots, np.uint32)
    layers: list[int] = []
    quantiser = np.zeros(words_of(QUANTISER, limits), np.uint32)
    channels: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    weight_row = channel_row = 0
    for slot, network in enumerate(networks):
        if network is None:
            continue
        _check(network, slot)
        n = network.sizes[0]
        slots[slot] = len(layers) // 2 | len(network.layers) << 8 | n << 16 | SLOT_VALID
        own = network.quant_m.astype(np.uint16).astype(np.uint32) | network.quant_s.astype(np.uint32) << np.uint32(16)
        quantiser[MAX_INPUTS * slot : MAX_INPUTS * slot + n] = own
        for layer in network.layers:
            layers += [
                layer.inputs | layer.outputs << 8 | (RELU if layer.relu else 0),
                weight_row | channel_row << 16,
            ]
            channels.append(_channel_words(layer, limits.lanes))
            weights.append(_weight_words(layer, limits.lanes))
            weight_row += groups_of(layer.outputs, limits.lanes) * layer.inputs
            channel_row += groups_of(layer.outputs, limits.lanes)
            for name, found, most in (
                ("layers", len(layers) // 2, limits.layer_entries),
                ("weight rows", weight_row, limits.weight_rows),
                ("channel rows", channel_row, limits.channel_rows),
            ):
                if found > most:
                    raise ImageError(f"slot {slot}: {name} up to here: found {found}, expected at most {most}")
    if not layers:
        raise ImageError("policies: found none, expected one at least")
    parts = [np.array([identity(limits)], np.uint32)]
    sections = [slots, np.array(layers, np.uint32), quantiser, np.concatenate(channels), np.concatenate(weights)]
    for region, words in enumerate(sections):
        parts += [np.array([len(words) | region << 24], np.uint32), words]
    return np.concatenate(parts)


def decode(words: Sequence[int] | np.ndarray, limits: Limits) -> list[Network | None]:
    """The networks of an image, one a slot of the build; input k reads feature k. Raises ImageError."""
    image = np.asarray(words, np.uint32)
    if not len(image) or int(image[0]) != identity(limits):
        raise ImageError(f"word 0: found {int(image[0]) if len(image) else 'none'}, expected {identity(limits)}")
    at, sections = 1, []
    for region, name in enumerate(REGIONS):
        head = int(image[at]) if at < len(image) else -1
        count = head & 0xFFFFFF
        if head < 0 or head >> 24 != region:
            raise ImageError(f"word {at}: found {head}, expected the head of region {region}, {name}")
        unit, most = unit_of(region, limits), words_of(region, limits)
        if not 1 <= count <= most or count % unit or at + 1 + count > len(image):
            raise ImageError(f"{name}: found {count} words, expected a multiple of {unit} up to {most}, all there")
        sections.append(image[at + 1 : at + 1 + count])
        at += 1 + count
    if at != len(image):
        raise ImageError(f"words: found {len(image)}, expected {at}")
    return [_decode_slot(slot, int(word), sections, limits) for slot, word in enumerate(sections[SLOTS])]


def _check(network: Network, slot: int) -> None:
    sizes = network.sizes
    for name, found, most in (
        ("inputs", sizes[0], MAX_INPUTS), ("layers", len(network.layers), MAX_LAYERS),
        ("hidden width", max(sizes[1:-1], default=1), MAX_WIDTH), ("outputs", sizes[-1], MAX_OUTPUTS),
    ):  # fmt: skip
        if not 1 <= found <= most:
            raise ImageError(f"slot {slot}: {name}: found {found}, expected 1..{most}")
    for k, layer in enumerate(network.layers):
        if (layer.shift is None) != (k == len(network.layers) - 1):
            raise ImageError(f"slot {slot}: layer {k}: shifts belong to hidden layers and to no other")
        folded = _folded_bias(layer)
        if (np.abs(folded) >= 1 << (BIAS_BITS - 1)).any():
            raise ImageError(f"slot {slot}: layer {k}: bias with half: found {folded}, expected {BIAS_BITS} bits")


def _folded_bias(layer: Layer) -> np.ndarray:
    bias = layer.bias.astype(np.int64)
    return bias if layer.shift is None else bias + (np.int64(1) << (layer.shift.astype(np.int64) - 1))


def _channel_words(layer: Layer, lanes: int) -> np.ndarray:
    shift = np.zeros(layer.outputs, np.int64) if layer.shift is None else layer.shift.astype(np.int64)
    words = np.zeros(groups_of(layer.outputs, lanes) * lanes, np.uint32)
    words[: layer.outputs] = (_folded_bias(layer) & ((1 << BIAS_BITS) - 1) | shift << BIAS_BITS).astype(np.uint32)
    return words


def _weight_words(layer: Layer, lanes: int) -> np.ndarray:
    groups = groups_of(layer.outputs, lanes)
    padded = np.zeros((groups * lanes, layer.inputs), np.int8)
    padded[: layer.outputs] = layer.weights
    rows = padded.reshape(groups, lanes, layer.inputs).transpose(0, 2, 1)  # group, input, lane
    return np.ascontiguousarray(rows).reshape(-1).view("<u4").astype(np.uint32)


def _decode_slot(slot: int, word: int, sections: list[np.ndarray], limits: Limits) -> Network | None:
    if not word & SLOT_VALID:
        return None
    first, count, inputs = word & 255, word >> 8 & 255, word >> 16 & 255
    own = sections[QUANTISER][MAX_INPUTS * slot : MAX_INPUTS * slot + inputs]
    entries = sections[LAYERS][2 * first : 2 * (first + count)].reshape(-1, 2)
    if not 1 <= count <= MAX_LAYERS or len(entries) != count or len(own) != inputs:
        raise ImageError(f"slot {slot}: found {count} layers from {first} on, {inputs} inputs; the image has fewer")
    layers = [_decode_layer(int(a), int(b), k == count - 1, sections, limits.lanes) for k, (a, b) in enumerate(entries)]
    index = np.arange(inputs, dtype=np.uint16)
    return Network(index, (own & 0xFFFF).astype(np.uint16).view(np.int16), (own >> 16).astype(np.uint8), tuple(layers))


def _decode_layer(shape: int, base: int, last: bool, sections: list[np.ndarray], lanes: int) -> Layer:
    inputs, outputs = shape & 255, shape >> 8 & 255
    sizes = (inputs, outputs)
    weight_row, channel_row = base & 0xFFFF, base >> 16
    channels = sections[CHANNELS].reshape(-1, lanes)[channel_row : channel_row + channel_rows_of(sizes, lanes)]
    rows = sections[WEIGHTS].reshape(-1, lanes // 4)[weight_row : weight_row + weight_rows_of(sizes, lanes)]
    if len(channels) != channel_rows_of(sizes, lanes) or len(rows) != weight_rows_of(sizes, lanes):
        raise ImageError(f"layer {inputs}-{outputs}: rows from {weight_row} and {channel_row} on: the image has fewer")
    groups = groups_of(outputs, lanes)
    weights = rows.astype("<u4").view(np.int8).reshape(groups, inputs, lanes).transpose(0, 2, 1)
    flat = channels.reshape(-1)[:outputs].astype(np.int64)
    shift = flat >> BIAS_BITS
    folded = (flat & ((1 << BIAS_BITS) - 1) ^ 1 << (BIAS_BITS - 1)) - (1 << (BIAS_BITS - 1))
    bias = folded if last else folded - (np.int64(1) << (shift - 1))
    matrix = np.ascontiguousarray(weights.reshape(groups * lanes, inputs)[:outputs])
    relu = bool(shape & RELU)
    return Layer(matrix, bias.astype(np.int32), None if last else shift.astype(np.uint8), relu)
