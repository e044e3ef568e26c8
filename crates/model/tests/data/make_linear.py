"""Makes linear/*.onnx and, beside each, linear/*.npz: inputs and what ONNX Runtime answers.

    pip install onnx onnxruntime numpy && python make_linear.py

Small networks around one linear operator or product each, of random weights: what other programs
export, with the attributes that they write.
"""

import os

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "linear")
SAMPLES = 3


class Net:
    def __init__(self, shape, seed=0, opset=17):
        self.rng = np.random.default_rng(seed)
        self.shape = shape
        self.opset = opset
        self.nodes, self.tensors, self.count = [], [], 0

    def const(self, array, dtype=None):
        array = np.asarray(array, dtype=dtype)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.count += 1
        name = f"c{self.count}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values):
        return self.const(np.array(values, np.int64))

    def weights(self, *shape):
        fan = max(1, int(np.prod(shape[1:])))
        return self.const(self.rng.standard_normal(shape) * np.sqrt(2.0 / fan))

    def add(self, op, *inputs, outputs=1, domain="", **attributes):
        self.count += 1
        names = [f"v{self.count}" if i == 0 else f"v{self.count}_{i}" for i in range(outputs)]
        node = helper.make_node(op, list(inputs), names, name=f"{op}_{self.count}", domain=domain, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def conv(self, x, inputs, outputs, kernel=3, pads=1, **attributes):
        one = len(self.shape) == 3
        shape = [outputs, inputs // attributes.get("group", 1)] + [kernel] * (1 if one else 2)
        pads = [pads] * (2 if one else 4)
        return self.add("Conv", x, self.weights(*shape), self.weights(outputs), pads=pads, **attributes)

    def save(self, name, *outputs, ml=False):
        values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        graph = helper.make_graph(self.nodes, name, [entry], values, self.tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        if ml:
            opsets.append(helper.make_opsetid("ai.onnx.ml", 3))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        path = os.path.join(FOLDER, name + ".onnx")
        onnx.save(model, path)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(1).uniform(-1, 1, (SAMPLES, *self.shape[1:])).astype(np.float32)
        rows = []
        for sample in x:
            answers = session.run(list(outputs), {"x": sample[None]})
            rows.append(np.concatenate([np.asarray(a, np.float32).ravel() for a in answers]))
        np.savez_compressed(os.path.join(FOLDER, name + ".npz"), x=x, y=np.stack(rows))


def transposed():
    cases = {
        "plain": dict(strides=[2, 2]),
        "padded": dict(strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        "uneven": dict(strides=[3, 2], pads=[0, 2, 1, 1], dilations=[1, 2]),
        "grouped": dict(strides=[2, 1], group=2, pads=[1, 0, 0, 1]),
        "one": dict(),
        "shape": dict(strides=[2, 2], output_shape=[9, 11]),
        "same": dict(strides=[2, 2], auto_pad="SAME_UPPER"),
        "lower": dict(strides=[2, 2], auto_pad="SAME_LOWER"),
        "small": dict(strides=[3, 3]),
    }
    for i, (name, attributes) in enumerate(cases.items()):
        net = Net([1, 3, 5, 5], i)
        groups = attributes.get("group", 1)
        kernel = [2, 2] if name in ("plain", "small") else [3, 4] if name == "uneven" else [3, 3]
        x = net.add("Relu", net.conv("x", 3, 4))
        x = net.add("ConvTranspose", x, net.weights(4, 6 // groups, *kernel), net.weights(6), **attributes)
        bn = [net.const(net.rng.uniform(0.5, 1.5, 6)) for _ in range(4)]
        x = net.add("BatchNormalization", x, *bn)
        x = net.add("Relu", x)
        net.save(f"transposed_{name}", net.conv(x, 6, 2))
    net = Net([1, 2, 7], 3)
    x = net.add("Relu", net.conv("x", 2, 4))
    x = net.add("ConvTranspose", x, net.weights(4, 3, 4), strides=[2], pads=[1, 1], output_padding=[1])
    net.save("transposed_1d", net.add("Relu", x))


def resizes():
    modes = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    for mode in modes:
        for kind in ["nearest", "linear"]:
            net = Net([1, 2, 6, 5], 1)
            x = net.add("Relu", net.conv("x", 2, 3))
            attributes = dict(mode=kind, coordinate_transformation_mode=mode)
            if kind == "nearest":
                attributes["nearest_mode"] = "round_prefer_floor" if mode == "half_pixel" else "floor"
            x = net.add("Resize", x, "", net.const(np.array([1, 1, 2, 2], np.float32)), **attributes)
            net.save(f"resize_{kind}_{mode}", net.conv(x, 3, 2))
    net = Net([1, 2, 6, 4], 1)
    x = net.add("Relu", net.conv("x", 2, 3))
    x = net.add("Resize", x, "", "", net.ints(1, 3, 9, 10), mode="linear", coordinate_transformation_mode="half_pixel")
    net.save("resize_sizes", net.conv(x, 3, 2))
    net = Net([1, 2, 8, 8], 1)
    x = net.conv(net.add("Relu", net.conv("x", 2, 3)), 3, 4)
    x = net.add("Resize", x, "", net.const(np.array([1, 1, 0.5, 0.25], np.float32)), mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="ceil")
    net.save("resize_smaller", net.add("Relu", x))
    net = Net([1, 2, 4, 4], 1, opset=9)
    x = net.add("Relu", net.conv("x", 2, 3))
    x = net.add("Upsample", x, net.const(np.array([1, 1, 2, 3], np.float32)), mode="linear")
    net.save("upsample_9", net.conv(x, 3, 2))
    net = Net([1, 2, 4, 4], 1, opset=11)
    x = net.add("Relu", net.conv("x", 2, 3))
    x = net.add("Resize", x, net.const(np.array([], np.float32)), net.const(np.array([1, 1, 2, 2], np.float32)),
                mode="nearest", coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor")
    net.save("resize_tf", net.conv(x, 3, 2))


def unet():
    for kind in ["transposed", "nearest", "linear", "shuffle"]:
        net = Net([1, 1, 8, 8], 5)
        a = net.add("Relu", net.conv("x", 1, 4))
        b = net.add("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2])
        b = net.add("Relu", net.conv(b, 4, 8))
        if kind == "transposed":
            b = net.add("ConvTranspose", b, net.weights(8, 4, 2, 2), net.weights(4), strides=[2, 2])
        elif kind == "shuffle":
            b = net.add("DepthToSpace", net.conv(b, 8, 16), blocksize=2, mode="CRD")
        else:
            mode = dict(coordinate_transformation_mode="half_pixel", mode=kind)
            b = net.add("Resize", b, "", net.const(np.array([1, 1, 2, 2], np.float32)), **mode)
        channels = 8 if kind in ("nearest", "linear") else 4
        x = net.add("Concat", a, b, axis=1)
        x = net.add("Relu", net.conv(x, 4 + channels, 4))
        net.save(f"unet_{kind}", net.conv(x, 4, 2, kernel=1, pads=0))


def places():
    net = Net([1, 4, 4, 4], 1)
    x = net.add("Relu", net.conv("x", 4, 8))
    x = net.add("Reshape", x, net.ints(1, 2, 4, 4, 4))
    x = net.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.add("Reshape", x, net.ints(1, 8, 4, 4))
    net.save("channel_shuffle", net.conv(x, 8, 4, group=2))
    net = Net([1, 3, 6, 5], 2)
    x = net.add("Relu", net.conv("x", 3, 6))
    a, b = net.add("Split", x, net.ints(2, 4), axis=1, outputs=2)
    a = net.add("Relu", net.conv(a, 2, 4))
    net.save("split", net.conv(net.add("Concat", b, a, axis=1), 8, 3))
    net = Net([1, 3, 6, 6], 3)
    x = net.add("Relu", net.conv("x", 3, 4))
    parts = [net.add("Slice", x, net.ints(i, j), net.ints(100, 100), net.ints(2, 3), net.ints(2, 2))
             for i in (0, 1) for j in (0, 1)]
    net.save("focus", net.conv(net.add("Concat", *parts, axis=1), 16, 3))
    net = Net([1, 3, 6, 6], 4)
    x = net.conv("x", 3, 4)
    x = net.add("Slice", x, net.ints(-1), net.ints(-100), net.ints(3), net.ints(-1))
    x = net.add("Gather", x, net.ints(3, 0, 0), axis=1)
    net.save("flip_gather", net.add("Relu", net.conv(x, 3, 2)))
    net = Net([1, 3, 6, 6], 5)
    x = net.add("Relu", net.conv("x", 3, 4))
    x = net.add("Gather", x, net.const(np.array(2, np.int64)), axis=2)
    net.save("gather_row", net.add("Relu", net.add("Flatten", x)))
    net = Net([1, 2, 3, 3], 6)
    x = net.add("Relu", net.conv("x", 2, 2))
    net.save("tile", net.conv(net.add("Tile", x, net.ints(1, 2, 2, 1)), 4, 2))
    net = Net([1, 2, 3, 3], 7)
    x = net.add("GlobalAveragePool", net.add("Relu", net.conv("x", 2, 2)))
    x = net.add("Expand", x, net.ints(1, 2, 4, 3))
    net.save("expand", net.conv(x, 2, 2))
    for mode in ["reflect", "edge"]:
        net = Net([1, 2, 5, 6], 8)
        x = net.add("Pad", "x", net.ints(0, 0, 2, 1, 0, 0, 1, 3), mode=mode)
        x = net.add("Relu", net.conv(x, 2, 3, pads=0))
        x = net.add("Pad", x, net.ints(0, 0, 1, 1, 0, 0, 1, 1), mode=mode)
        net.save(f"pad_{mode}", net.conv(x, 3, 2, pads=0))
    net = Net([1, 2, 5, 6], 9)
    x = net.add("Relu", net.conv("x", 2, 3))
    x = net.add("Pad", x, net.ints(0, 1, 0, 0, 0, 2, 0, 0))
    net.save("pad_channels", net.conv(net.add("Add", x, net.conv("x", 2, 6)), 6, 2))
    net = Net([1, 2, 5, 6], 9)
    x = net.add("Relu", net.conv("x", 2, 3))
    x = net.add("Pad", x, net.ints(0, 0, -1, 1, 0, 0, 1, -2), net.const(np.array(0.5, np.float32)))
    net.save("pad_value_and_cut", net.conv(x, 3, 2, pads=0))
    for mode in ["DCR", "CRD"]:
        net = Net([1, 2, 4, 6], 10)
        x = net.add("SpaceToDepth", "x", blocksize=2)
        x = net.add("Relu", net.conv(x, 8, 8))
        net.save(f"blocks_{mode}", net.conv(net.add("DepthToSpace", x, blocksize=2, mode=mode), 2, 2))
    net = Net([1, 3, 4, 5], 11)
    x = net.add("Relu", net.conv("x", 3, 4))
    x = net.add("Transpose", x, perm=[0, 3, 1, 2])
    net.save("transpose_inside", net.conv(x, 5, 2))
    net = Net([1, 3, 4, 5], 12)
    x = net.add("Transpose", net.add("Relu", net.conv("x", 3, 4)), perm=[0, 2, 3, 1])
    x = net.add("Add", net.add("MatMul", x, net.weights(4, 6)), net.weights(6))
    x = net.add("Transpose", net.add("Relu", x), perm=[0, 3, 1, 2])
    net.save("linear_channels_last", net.conv(x, 6, 2))
    net = Net([1, 3, 4, 5], 13)
    x = net.add("Relu", net.conv("x", 3, 4))
    net.save("transposed_result", net.add("Transpose", net.conv(x, 4, 3), perm=[0, 2, 3, 1]))
    net = Net([1, 2, 4, 6], 14)
    x = net.add("Relu", net.conv("x", 2, 4))
    y = net.add("Relu", net.conv("x", 2, 4))
    net.save("concat_height", net.conv(net.add("Concat", x, y, x, axis=2), 4, 2))


def one_dimension():
    net = Net([1, 3, 16], 1)
    x = net.add("Relu", net.conv("x", 3, 8))
    x = net.add("MaxPool", x, kernel_shape=[2], strides=[2])
    x = net.add("Relu", net.conv(x, 8, 8, dilations=[2], pads=2))
    x = net.add("AveragePool", x, kernel_shape=[3], strides=[2], pads=[1, 1])
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.save("conv1d", net.add("Gemm", x, net.weights(5, 8), net.weights(5), transB=1))
    net = Net([1, 12, 3], 2)
    x = net.add("Transpose", "x", perm=[0, 2, 1])
    x = net.add("Relu", net.conv(x, 3, 4))
    bn = [net.const(net.rng.uniform(0.5, 1.5, 4)) for _ in range(4)]
    x = net.add("BatchNormalization", net.conv(x, 4, 4), *bn)
    x = net.add("ReduceMax", x, axes=[2], keepdims=0)
    net.save("conv1d_channels_last", net.add("MatMul", x, net.weights(4, 3)))


def reductions():
    for name, op, axes, keep in [
        ("channels", "ReduceMean", [1], 1), ("all", "ReduceMean", [1, 2, 3], 0), ("rows", "ReduceSum", [-2], 0),
        ("mixed", "ReduceMean", [1, 3], 0), ("largest", "ReduceMax", [1], 1),
    ]:
        net = Net([1, 3, 4, 6], 1, opset=11)
        x = net.add("Relu", net.conv("x", 3, 5))
        x = net.add(op, x, axes=axes, keepdims=keep)
        if keep:
            x = net.conv(x, 1, 2)
        elif name != "all":
            x = net.add("Flatten", x)
            width = {"rows": 30, "mixed": 4}[name]
            x = net.add("MatMul", x, net.weights(width, 3))
        net.save(f"reduce_{name}", x)


def gates():
    net = Net([1, 3, 6, 6], 1)
    x = net.add("Relu", net.conv("x", 3, 8))
    s = net.add("GlobalAveragePool", x)
    s = net.add("Relu", net.conv(s, 8, 2, kernel=1, pads=0))
    s = net.add("HardSigmoid", net.conv(s, 2, 8, kernel=1, pads=0), alpha=1 / 6, beta=0.5)
    net.save("squeeze_excite", net.conv(net.add("Mul", s, x), 8, 4))
    net = Net([1, 3, 6, 6], 2)
    x = net.add("Relu", net.conv("x", 3, 8))
    g = net.add("HardSigmoid", net.conv(x, 8, 1))
    x = net.add("Add", x, net.add("Mul", x, g))
    net.save("spatial_gate", net.conv(net.add("Relu", x), 8, 4))
    net = Net([1, 3, 6, 6], 3)
    a, b = net.conv("x", 3, 4), net.add("Relu", net.conv("x", 3, 4))
    x = net.add("Mul", a, b)
    net.save("product", net.add("Relu", x))
    net = Net([1, 3, 6, 6], 9)
    x = net.add("Relu", net.conv("x", 3, 16))
    both = net.add("Concat", net.add("ReduceMean", x, axes=[1], keepdims=1), net.add("ReduceMax", x, axes=[1], keepdims=1), axis=1)
    g = net.add("HardSigmoid", net.conv(both, 2, 1))
    net.save("pixel_attention", net.conv(net.add("Mul", x, g), 16, 4))
    net = Net([1, 3, 6, 6], 4)
    a = net.add("Relu", net.conv("x", 3, 4))
    s = net.add("ReduceMean", a, axes=[1, 2, 3], keepdims=1)
    net.save("image_scale", net.add("Mul", net.conv(a, 4, 2), s))
    net = Net([1, 3, 4, 4], 5)
    a = net.add("Relu", net.conv("x", 3, 4))
    b = net.add("GlobalMaxPool", a)
    net.save("broadcast_sum", net.conv(net.add("Sub", a, b), 4, 2))
    net = Net([1, 6], 6)
    a = net.add("Relu", net.add("Gemm", "x", net.weights(6, 8), net.weights(8)))
    b = net.add("Gemm", "x", net.weights(6, 8), net.weights(8))
    net.save("glu", net.add("Gemm", net.add("Mul", a, b), net.weights(8, 3), net.weights(3)))


def tabular():
    net = Net([1, 5], 1)
    x = net.add("Scaler", "x", domain="ai.onnx.ml", offset=[0.1, 0.2, 0.0, -0.3, 0.5], scale=[1.0, 2.0, 0.5, 1.5, 3.0])
    x = net.add("Relu", net.add("Gemm", x, net.weights(5, 8), net.weights(8)))
    net.save("scaler", net.add("Gemm", x, net.weights(8, 3), net.weights(3)), ml=True)
    for post in ["NONE", "LOGISTIC", "SOFTMAX"]:
        net = Net([1, 4], 2)
        coefficients = [float(v) for v in net.rng.standard_normal(12)]
        label, scores = net.add("LinearClassifier", "x", outputs=2, domain="ai.onnx.ml", classlabels_ints=[0, 1, 2],
                                coefficients=coefficients, intercepts=[0.1, -0.2, 0.3], post_transform=post)
        del label
        if post != "SOFTMAX":
            net.save(f"linear_classifier_{post.lower()}", scores, ml=True)
    net = Net([1, 4], 3)
    y = net.add("LinearRegressor", "x", domain="ai.onnx.ml", coefficients=[0.5, -1.0, 2.0, 0.25, 1.0, 0.5, 0.1, 0.2],
                intercepts=[0.1, 0.7], targets=2)
    net.save("linear_regressor", y, ml=True)


def smooth():
    def silu(net, x):
        return net.add("Mul", x, net.add("Sigmoid", x))

    def gelu(net, x):
        inner = net.add("Erf", net.add("Div", x, net.const(np.float32(np.sqrt(2)))))
        inner = net.add("Mul", x, net.add("Add", inner, net.const(np.float32(1))))
        return net.add("Mul", inner, net.const(np.float32(0.5)))

    def gelu_tanh(net, x):
        cube = net.add("Mul", net.add("Pow", x, net.const(np.float32(3))), net.const(np.float32(0.044715)))
        inner = net.add("Mul", net.add("Add", x, cube), net.const(np.float32(np.sqrt(2 / np.pi))))
        inner = net.add("Add", net.add("Tanh", inner), net.const(np.float32(1)))
        return net.add("Mul", net.add("Mul", x, net.const(np.float32(0.5))), inner)

    def mish(net, x):
        return net.add("Mul", x, net.add("Tanh", net.add("Softplus", x)))

    composed = {"silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh, "mish": mish}
    plain = ["Sigmoid", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign"]
    for name in [*composed, *plain]:
        net = Net([1, 2, 6, 6], 7)
        act = composed.get(name, lambda net, x, name=name: net.add(name, x))
        x = act(net, net.conv("x", 2, 6))
        x = act(net, net.conv(x, 6, 6))
        x = net.add("Flatten", net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))
        net.save(f"smooth_{name.lower()}", net.add("Gemm", x, net.weights(54, 4), net.weights(4)))
    net = Net([1, 3, 6, 6], 8)
    x = silu(net, net.conv("x", 3, 8))
    s = silu(net, net.conv(net.add("GlobalAveragePool", x), 8, 2, kernel=1, pads=0))
    s = net.add("Sigmoid", net.conv(s, 2, 8, kernel=1, pads=0))
    net.save("smooth_gate", net.conv(net.add("Mul", x, s), 8, 4))


def several():
    net = Net([1, 2, 4, 4], 1)
    x = net.add("Relu", net.conv("x", 2, 4))
    mask = net.conv(x, 4, 2)
    score = net.add("Gemm", net.add("Flatten", x), net.weights(64, 3), net.weights(3))
    net.save("two_outputs", mask, score)
    net = Net([1, 2, 4, 4], 2)
    x = net.add("Relu", net.conv("x", 2, 4))
    score = net.add("Gemm", net.add("Flatten", net.conv(x, 4, 4)), net.weights(64, 3), net.weights(3))
    net.save("output_behind_output", x, score)


if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for make in [transposed, resizes, unet, places, one_dimension, reductions, gates, tabular, smooth, several]:
        make()
