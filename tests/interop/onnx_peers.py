#!/usr/bin/env python3
"""Checks our ONNX reader and writer against the onnx package's checker and ONNX Runtime.

Run by `make test-interop`, or by hand:

    python3 -m venv VENV && VENV/bin/pip install onnx onnxruntime numpy
    meson setup build && ninja -C build tests/interop/onnx_reference_run
    VENV/bin/python tests/interop/onnx_peers.py build/tests/interop/onnx_reference_run

Written by us: each built-in architecture with f32 weights, with f16 weights, and optimised (its
fused parts spelt out again) passes onnx.checker, and ONNX Runtime's outputs agree with our plain
executor's on our own reading of the file, to 1e-3 of the largest output.

Written by others: models with the habits of the usual exporters, made here with onnx.helper, are
read by us and agree too; then we write each again and ONNX Runtime runs that.

Prints one line a check and exits with 1 when any failed.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TOLERANCE = 1e-3
ARCHITECTURES = ["resnet50", "mobilenetv2", "efficientnet_b0"]
random = numpy.random.default_rng(1)


def weights(name, *shape, scale=0.3):
    return numpy_helper.from_array(
        (scale * random.standard_normal(shape)).astype(numpy.float32), name)


def integers(name, values):
    return numpy_helper.from_array(numpy.array(values, dtype=numpy.int64), name)


def scalar(name, value, dtype=numpy.float32):
    return numpy_helper.from_array(numpy.array(value, dtype=dtype), name)


def batch_norm_weights(channels):
    return [weights("scale", channels), weights("bias", channels), weights("mean", channels),
            numpy_helper.from_array(random.uniform(0.5, 1.5, channels).astype(numpy.float32), "variance")]


def model(nodes, initializers, opset, shape=("batch", 3, 8, 8), element=TensorProto.FLOAT, ir=8):
    graph = helper.make_graph(
        nodes, "peer",
        [helper.make_tensor_value_info("x", element, list(shape))],
        [helper.make_tensor_value_info("y", element, None)], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    return onnx.shape_inference.infer_shapes(made)  # gives y its shape, which the checker wants


node = helper.make_node


def torch_classifier():
    """Conv, BatchNorm, ReLU6 from Clip inputs, pool, and x.view(x.size(0), -1), as PyTorch's tracer has it."""
    return model([
        node("Conv", ["x", "w", "b"], ["/conv/out"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["/conv/out", "scale", "bias", "mean", "variance"], ["/bn/out"], epsilon=1e-3),
        node("Constant", [], ["/low"], value=scalar("", 0)),
        node("Constant", [], ["/high"], value=scalar("", 6)),
        node("Clip", ["/bn/out", "/low", "/high"], ["/relu6/out"]),
        node("GlobalAveragePool", ["/relu6/out"], ["/pool/out"]),
        node("Shape", ["/pool/out"], ["/shape"]),
        node("Constant", [], ["/zero"], value=scalar("", 0, numpy.int64)),
        node("Gather", ["/shape", "/zero"], ["/size"], axis=0),
        node("Constant", [], ["/axes"], value=numpy_helper.from_array(numpy.array([0], dtype=numpy.int64))),
        node("Unsqueeze", ["/size", "/axes"], ["/batch"]),
        node("Constant", [], ["/rest"], value_ints=[-1]),
        node("Concat", ["/batch", "/rest"], ["/target"], axis=0),
        node("Reshape", ["/pool/out", "/target"], ["/flat"]),
        node("Gemm", ["/flat", "fc", "fc_bias"], ["y"], transB=1),
    ], [weights("w", 6, 3, 3, 3), weights("b", 6), *batch_norm_weights(6), weights("fc", 5, 6),
        weights("fc_bias", 5)], 13)


def torch_slice_shape():
    """The size of the batch taken by Slice, as newer exporters do."""
    return model([
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "one", "zero"], ["batch"]),
        node("Concat", ["batch", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["flat"]),
        node("Gemm", ["flat", "fc"], ["y"]),
    ], [integers("zero", [0]), integers("one", [1]), integers("rest", [192]), weights("fc", 192, 4)], 17)


def fixed_batch():
    """Exported at batch 1, with that 1 in the target of the Reshape."""
    return model([
        node("Reshape", ["x", "target"], ["flat"]),
        node("MatMul", ["flat", "fc"], ["product"]),
        node("Add", ["product", "bias"], ["y"]),
    ], [integers("target", [1, 192]), weights("fc", 192, 4), weights("bias", 4)], 13, shape=(1, 3, 8, 8))


def keras_stem():
    """ZeroPadding2D before Conv and MaxPool, transposed from and to NHWC, ReduceMean as the pool."""
    return model([
        node("Transpose", ["x"], ["nhwc"], perm=[0, 2, 3, 1]),
        node("Transpose", ["nhwc"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Pad", ["nchw", "pads", "zero"], ["padded"], mode="constant"),
        node("Conv", ["padded", "w"], ["conv"], strides=[2, 2], auto_pad="VALID"),
        node("Relu", ["conv"], ["relu"]),
        node("Pad", ["relu", "pads2", "zero"], ["padded2"]),
        node("MaxPool", ["padded2"], ["pool"], kernel_shape=[3, 3], strides=[2, 2]),
        node("ReduceMean", ["pool"], ["mean"], axes=[2, 3], keepdims=0),
        node("MatMul", ["mean", "fc"], ["logits"]),
        node("Softmax", ["logits"], ["y"]),
    ], [integers("pads", [0, 0, 3, 3, 0, 0, 3, 3]), integers("pads2", [0, 0, 1, 1, 0, 0, 1, 1]), scalar("zero", 0),
        weights("w", 4, 3, 5, 5), weights("fc", 4, 6)], 13)


def same_padding():
    """TensorFlow's SAME, depthwise too."""
    return model([
        node("Conv", ["x", "w"], ["a"], strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Conv", ["a", "d"], ["b"], strides=[1, 1], auto_pad="SAME_LOWER", group=4),
        node("AveragePool", ["b"], ["y"], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    ], [weights("w", 4, 3, 3, 3), weights("d", 4, 1, 4, 4)], 13, shape=("n", 3, 9, 8))


def hard_swish_by_hand():
    """MobileNetV3's activation decomposed, and the squeeze-and-excite block with its hard sigmoid."""
    return model([
        node("Add", ["x", "three"], ["a"]),
        node("Clip", ["a", "zero", "six"], ["b"]),
        node("Div", ["b", "six"], ["c"]),
        node("Mul", ["x", "c"], ["d"]),
        node("ReduceMean", ["d"], ["mean"], axes=[-1, -2], keepdims=1),
        node("Conv", ["mean", "w"], ["gate"]),
        node("HardSigmoid", ["gate"], ["hard"], alpha=1 / 6, beta=0.5),
        node("Mul", ["hard", "d"], ["e"]),
        node("HardSwish", ["e"], ["y"]),
    ], [scalar("three", 3), scalar("zero", 0), scalar("six", 6), weights("w", 3, 3, 1, 1)], 14)


def swish_block():
    """EfficientNet: x * sigmoid(x), and the gate of squeeze and excite."""
    return model([
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("Sigmoid", ["a"], ["s"]),
        node("Mul", ["a", "s"], ["b"]),
        node("GlobalAveragePool", ["b"], ["mean"]),
        node("Conv", ["mean", "g"], ["c"]),
        node("Sigmoid", ["c"], ["gate"]),
        node("Mul", ["b", "gate"], ["d"]),
        node("Add", ["d", "b"], ["e"]),
        node("Sum", ["e", "a", "b"], ["y"]),
    ], [weights("w", 5, 3, 3, 3), weights("g", 5, 5, 1, 1)], 15)


def opset_7():
    """Attributes where later sets have inputs; initialisers listed among the inputs; old Softmax."""
    made = model([
        node("Clip", ["x"], ["a"], min=-1.0, max=1.5),
        node("Dropout", ["a"], ["b", "mask"], ratio=0.4),
        node("Pad", ["b"], ["c"], pads=[0, 0, 1, 0, 0, 0, 0, 1], value=0.5),
        node("Conv", ["c", "w"], ["d"], dilations=[2, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", ["d", "scale", "bias", "mean", "variance"], ["e"]),
        node("LeakyRelu", ["e"], ["f"], alpha=0.2),
        node("AveragePool", ["f"], ["g"], kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1),
        node("ReduceMean", ["g"], ["h"], axes=[3], keepdims=1),
        node("Squeeze", ["h"], ["i"], axes=[3]),
        node("Unsqueeze", ["i"], ["j"], axes=[1]),
        node("Softmax", ["j"], ["k"], axis=2),
        node("Flatten", ["k"], ["y"]),
    ], [weights("w", 4, 3, 3, 3), *batch_norm_weights(4)], 7, ir=3)
    for initializer in made.graph.initializer:
        made.graph.input.append(
            helper.make_tensor_value_info(initializer.name, initializer.data_type, list(initializer.dims)))
    return onnx.shape_inference.infer_shapes(made)


def opset_18():
    """Axes as inputs everywhere; Pad with axes."""
    return model([
        node("Pad", ["x", "pads", "", "axes"], ["a"]),
        node("ReduceMean", ["a", "axes"], ["b"], keepdims=1),
        node("Squeeze", ["b", "axes"], ["c"]),
        node("Unsqueeze", ["c", "axes"], ["d"]),
        node("Concat", ["d", "d"], ["e"], axis=1),
        node("Tanh", ["e"], ["f"]),
        node("Sub", ["f", "half"], ["g"]),
        node("Flatten", ["g"], ["y"]),
    ], [integers("pads", [1, 0, 0, 2]), integers("axes", [2, 3]), scalar("half", 0.5)], 18)


def half_precision():
    """Weights stored as f16 and cast, bf16 likewise, and a clip bound that is a cast."""
    half = numpy_helper.from_array((0.3 * random.standard_normal((4, 3, 3, 3))).astype(numpy.float16), "w_half")
    return model([
        node("Cast", ["w_half"], ["w"], to=TensorProto.FLOAT),
        node("Cast", ["six_half"], ["six"], to=TensorProto.FLOAT),
        node("Cast", ["b_brain"], ["b"], to=TensorProto.FLOAT),
        node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        node("Clip", ["a", "", "six"], ["z"]),
        node("Identity", ["z"], ["y"]),
    ], [half, scalar("six_half", 6, numpy.float16),
        helper.make_tensor("b_brain", TensorProto.BFLOAT16, [4], [0.5, -1, 0.25, 2])], 13)


def pooling():
    """Ceil mode, uneven strides and padding, dilated max pooling, counted padding."""
    return model([
        node("MaxPool", ["x"], ["a"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], ceil_mode=1),
        node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1]),
        node("AveragePool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
        node("AveragePool", ["c"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    ], [], 13, shape=("n", 3, 11, 10))


def typed_data():
    """Tensors in the typed fields instead of raw_data, and a Gemm with every attribute."""
    return model([
        node("Reshape", ["x", "target"], ["flat"]),
        node("Gemm", ["flat", "fc", "bias"], ["a"], alpha=0.5, beta=2.0, transA=0, transB=0),
        node("Softmax", ["a"], ["y"], axis=-1),
    ], [helper.make_tensor("target", TensorProto.INT64, [2], [0, -1]),
        helper.make_tensor("fc", TensorProto.FLOAT, [192, 3],
                           [float(v) for v in 0.1 * random.standard_normal(576)]),
        helper.make_tensor("bias", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])], 13)


PEERS = [torch_classifier, torch_slice_shape, fixed_batch, keras_stem, same_padding, hard_swish_by_hand,
         swish_block, opset_7, opset_18, half_precision, pooling, typed_data]


class Checks:
    def __init__(self, tool, folder):
        self.tool, self.folder, self.failed = tool, pathlib.Path(folder), 0

    def ours(self, *arguments):
        subprocess.run([self.tool, *map(str, arguments)], check=True, capture_output=True, text=True)

    def our_output(self, path, x, shape):
        x.tofile(self.folder / "input")
        self.ours("run", path, x.shape[0], self.folder / "input", self.folder / "output")
        return numpy.fromfile(self.folder / "output", dtype=numpy.float32).reshape(shape)

    def agree(self, path, theirs=None, batch=2):
        """ONNX Runtime on `theirs` (default: the same file) against us on `path`; the largest
        difference, as a part of the largest output."""
        session = onnxruntime.InferenceSession(str(theirs or path), providers=["CPUExecutionProvider"])
        shape = [d if isinstance(d, int) else batch for d in session.get_inputs()[0].shape]
        x = random.standard_normal(shape).astype(numpy.float32)
        (expected,) = session.run(None, {session.get_inputs()[0].name: x})
        got = self.our_output(path, x, expected.shape)
        difference = float(numpy.max(numpy.abs(got - expected)) / numpy.max(numpy.abs(expected)))
        if not difference <= TOLERANCE:
            raise AssertionError(f"outputs differ by {difference}")
        return difference

    def check(self, name, act):
        try:
            print(f"ok {name}: largest difference {act():.1e}")
        except subprocess.CalledProcessError as error:
            self.failed += 1
            print(f"not ok {name}: {error.stderr.strip()}")
        except Exception as error:  # whatever the peers raise is a failed check
            self.failed += 1
            print(f"not ok {name}: {error}")


def check_architecture(checks, name, form):
    built, path = checks.folder / f"{name}.onnx", checks.folder / f"{name}-{form}.onnx"
    checks.ours("new", name, 32, 10, 5, built)
    checks.ours("convert", built, path, "f16" if form == "f16" else "f32", form)
    onnx.checker.check_model(str(path), full_check=True)
    return checks.agree(path)


def check_peer(checks, make):
    path, again = checks.folder / f"{make.__name__}.onnx", checks.folder / "again.onnx"
    made = make()
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, str(path))
    difference = checks.agree(path)
    for form in ["plain", "optimised"]:
        checks.ours("convert", path, again, "f32", form)
        onnx.checker.check_model(str(again), full_check=True)
        difference = max(difference, checks.agree(path, theirs=again, batch=3))
    return difference


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(sys.argv[1], folder)
        for name in ARCHITECTURES:
            for form in ["f32", "f16", "optimised"]:
                checks.check(f"{name} {form}", lambda: check_architecture(checks, name, form))
        for make in PEERS:
            checks.check(make.__name__, lambda: check_peer(checks, make))
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
