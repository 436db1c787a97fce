"""Model packages with networks so small that their answers are known: they look at the mean colour.

The ONNX file is written here byte by byte (protobuf wire format), so that the tests need no library and the
program reads a file it did not write."""
import pathlib
import struct

LABELS = ["red", "green", "blue", "none"]


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field, number):
    return varint(field << 3) + varint(number)


def block(field, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def tensor(name, dims, values):
    body = b"".join(integer(1, dim) for dim in dims) + integer(2, 1)
    return body + block(8, name) + block(9, struct.pack(f"<{len(values)}f", *values))


def value_info(name, dims):
    shape = b"".join(block(1, block(2, dim) if isinstance(dim, str) else integer(1, dim)) for dim in dims)
    return block(1, name) + block(2, block(1, integer(1, 1) + block(2, shape)))


def node(operator, inputs, output):
    return b"".join(block(1, name) for name in inputs) + block(2, output) + block(3, output) + block(4, operator)


def colour_network(weights, bias, side=8):
    """Logit k is weights[k] . mean colour (0..1 each) + bias[k]."""
    classes = len(weights)
    nodes = [
        node("Conv", ["image", "weights", "bias"], "coloured"),
        node("GlobalAveragePool", ["coloured"], "mean"),
        node("Flatten", ["mean"], "logits"),
    ]
    graph = b"".join(block(1, each) for each in nodes) + block(2, "colours")
    graph += block(5, tensor("weights", [classes, 3, 1, 1], [number for row in weights for number in row]))
    graph += block(5, tensor("bias", [classes], bias))
    graph += block(11, value_info("image", ["n", 3, side, side])) + block(12, value_info("logits", ["n", classes]))
    return integer(1, 7) + block(7, graph) + block(8, block(1, "") + integer(2, 13))


# red, green, blue and black are answered alike by `plain` and `bold`; `timid` says none unless it is sure.
KNOWN = {
    "plain": ([[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 0]], [0, 0, 0, 2]),
    "bold": ([[30, 0, 0], [0, 30, 0], [0, 0, 30], [0, 0, 0]], [0, 0, 0, 2]),
    "timid": ([[4, 0, 0], [0, 9, 0], [0, 0, 4], [0, 0, 0]], [0, 0, 0, 5]),
}


def says(model, color):
    """What a known model answers to a picture of one colour."""
    weights, bias = KNOWN[model]
    logits = [sum(w * c / 255 for w, c in zip(row, color)) + b for row, b in zip(weights, bias)]
    return LABELS[logits.index(max(logits))]


def write_package(folder, name, version="1", network=None, labels=None):
    """The network first, the description last and at once: what is half there is not taken up."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(network if network is not None else colour_network(*KNOWN[name]))
    (folder / "model.yaml.new").write_text(
        f"name: {name}\nversion: '{version}'\narchitecture: colours\nlabels: [{', '.join(labels or LABELS)}]\n"
        "preprocess: {preset: raw01, width: 8, height: 8}\n"
    )
    (folder / "model.yaml.new").rename(folder / "model.yaml")
    return folder


def write_known(folder, names=("plain", "bold", "timid")):
    for name in names:
        write_package(pathlib.Path(folder) / name, name)
    return pathlib.Path(folder)
