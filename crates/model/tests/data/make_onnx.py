"""Makes the ONNX files of this folder, which imitate what PyTorch's two exporters write, and beside each an .npz with
random inputs `x` and what ONNX Runtime gives for them, `y` (logits: without a Softmax at the end).

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install onnx==1.23.2 onnxruntime && /tmp/venv/bin/python make_onnx.py

Weights are seeded; nothing is learned. (The standard's own reference evaluator takes BatchNormalization before
operator set 14 for training, so it is no oracle for what the legacy exporter writes.)
"""

import pathlib
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
SAMPLES = 4


class Net:
    """Nodes and initializers of one model, in the order they are added."""

    def __init__(self, name, shape, opset, batch="batch", producer="pytorch"):
        self.name, self.shape, self.opset, self.batch, self.producer = name, shape, opset, batch, producer
        self.nodes, self.inits, self.count = [], [], 0
        self.rng = np.random.default_rng(sum(name.encode()))

    def fresh(self, hint):
        self.count += 1
        return f"{hint}_{self.count}"

    def init(self, hint, array):
        name = self.fresh(hint)
        self.inits.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def constant(self, array):
        """A Constant node, as the legacy exporter writes."""
        return self.op("Constant", value=numpy_helper.from_array(np.asarray(array)))

    def op(self, kind, *inputs, name=None, **attributes):
        out = self.fresh(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name or f"/{kind}_{self.count}", **attributes))
        return out

    def random(self, shape, spread):
        return self.rng.uniform(-spread, spread, shape).astype(np.float32)

    def conv(self, x, cin, cout, k, bias=True, group=1, **attributes):
        shape = (cout, cin // group, *k) if isinstance(k, tuple) else (cout, cin // group, k, k)
        w = self.init("weight", self.random(shape, np.sqrt(3 / np.prod(shape[1:]))))
        b = [self.init("bias", self.random(cout, 0.1))] if bias else []
        return self.op("Conv", x, w, *b, group=group, kernel_shape=list(shape[2:]), **attributes)

    def bn(self, x, channels):
        r = self.rng
        parts = [r.uniform(0.5, 1, channels), r.uniform(-0.2, 0.2, channels), r.uniform(-0.2, 0.2, channels), r.uniform(0.5, 1.5, channels)]
        names = [self.init(h, p.astype(np.float32)) for h, p in zip(["bn_weight", "bn_bias", "running_mean", "running_var"], parts)]
        return self.op("BatchNormalization", x, *names, epsilon=1e-5, momentum=0.9)

    def gemm(self, x, inputs, outputs):
        w = self.init("weight", self.random((outputs, inputs), np.sqrt(3 / inputs)))
        b = self.init("bias", self.random(outputs, 0.1))
        return self.op("Gemm", x, w, b, transB=1, alpha=1.0, beta=1.0)

    def model(self, result, classes):
        self.nodes[-1].output[0] = "output"
        for node in self.nodes:
            assert result not in node.input
        x = helper.make_tensor_value_info("input", TensorProto.FLOAT, [self.batch, *self.shape])
        y = helper.make_tensor_value_info("output", TensorProto.FLOAT, [self.batch, classes])
        graph = helper.make_graph(self.nodes, self.name, [x], [y], self.inits)
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model(graph, producer_name=self.producer, producer_version="2.15.0", opset_imports=[opset])
        model.ir_version = 10 if self.opset >= 20 else 8 if self.opset >= 13 else 4
        onnx.checker.check_model(model, full_check=True)
        return model

    @staticmethod
    def logits(model):
        """The model without a Softmax at its end: receivers get the logits."""
        last = model.graph.node[-1]
        if last.op_type not in ("Softmax", "LogSoftmax"):
            return model
        model = onnx.ModelProto.FromString(model.SerializeToString())
        model.graph.output[0].name = last.input[0]
        del model.graph.node[-1]
        return model

    def save(self, result, classes, external=False):
        model = self.model(result, classes)
        path = HERE / f"{self.name}.onnx"
        batch = self.batch if isinstance(self.batch, int) else 1
        x = self.rng.uniform(-1, 1, (SAMPLES, *self.shape)).astype(np.float32)
        run = onnxruntime.InferenceSession(self.logits(model).SerializeToString())
        if batch == 1:
            y = np.concatenate([run.run(None, {"input": x[i : i + 1]})[0] for i in range(SAMPLES)])
        else:
            assert SAMPLES % batch == 0
            y = np.concatenate([run.run(None, {"input": x[i : i + batch]})[0] for i in range(0, SAMPLES, batch)])
        np.savez_compressed(HERE / f"{self.name}.npz", x=x, y=y)
        if external:
            data = path.name + ".data"
            (HERE / data).unlink(missing_ok=True)
            onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=64)
            (HERE / data).chmod(0o644)
        else:
            onnx.save(model, path)
        print(path.name, path.stat().st_size)


def i64(*values):
    return np.array(values, dtype=np.int64)


def f32(value):
    return np.array(value, dtype=np.float32)


def square_act(n, x, a=0.25, b=0.5, c=0.1):
    """a x^2 + b x + c as torch.export writes it."""
    y = n.op("Mul", n.op("Pow", x, n.init("val", f32(2.0))), n.init("val", f32(a)))
    y = n.op("Add", y, n.op("Mul", x, n.init("val", f32(b))))
    return n.op("Add", y, n.init("val", f32(c)))


def lenet_dynamo():
    """torch.onnx.export(dynamo=True): opset 20, external data, BatchNorm folded, Flatten as Reshape, Pow."""
    n = Net("lenet_dynamo", (1, 28, 28), 20, batch="s77")
    x = square_act(n, n.conv("input", 1, 4, 5, pads=[2, 2, 2, 2], strides=[1, 1], dilations=[1, 1]))
    x = n.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], ceil_mode=0, count_include_pad=1)
    x = square_act(n, n.conv(x, 4, 8, 5))
    x = n.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1)
    x = n.op("Reshape", x, n.init("val", i64(-1, 200)), allowzero=1)
    x = square_act(n, n.gemm(x, 200, 40))
    n.save(n.gemm(x, 40, 10), 10, external=True)


def resnet_legacy():
    """dynamo=False, training=PRESERVE: opset 13, BatchNormalization kept, Relu, residual sums."""
    n = Net("resnet_legacy", (3, 16, 16), 13)
    three = dict(pads=[1, 1, 1, 1], bias=False)
    x = n.op("Relu", n.bn(n.conv("input", 3, 8, 3, **three), 8))
    y = n.op("Relu", n.bn(n.conv(x, 8, 8, 3, **three), 8))
    y = n.bn(n.conv(y, 8, 8, 3, **three), 8)
    x = n.op("Relu", n.op("Add", y, x))
    y = n.op("Relu", n.bn(n.conv(x, 8, 12, 3, strides=[2, 2], **three), 12))
    y = n.bn(n.conv(y, 12, 12, 3, **three), 12)
    s = n.bn(n.conv(x, 8, 12, 1, strides=[2, 2], bias=False), 12)
    x = n.op("Relu", n.op("Add", y, s))
    x = n.op("GlobalAveragePool", x)
    x = n.op("Flatten", x, axis=1)
    n.save(n.gemm(x, 12, 5), 5)


def mobile_dynamo():
    """Depthwise convolutions, ReLU6 and HardSwish, ReduceMean with axes as input, MatMul with a bias behind, a Softmax."""
    n = Net("mobile_dynamo", (3, 17, 15), 18, batch=2)
    x = n.conv("input", 3, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    x = n.op("HardSwish", x)
    x = n.conv(x, 8, 8, 3, group=8, pads=[1, 0, 1, 2])
    x = n.op("Clip", x, n.init("val", f32(0.0)), n.init("val", f32(6.0)))
    x = n.conv(x, 8, 12, 1)
    x = n.conv(n.op("Identity", n.op("LeakyRelu", x, alpha=0.1)), 12, 16, (3, 1), group=2, dilations=[2, 1])
    x = n.op("Dropout", n.op("HardSwish", x))
    x = n.op("ReduceMean", x, n.init("val", i64(-1, -2)), keepdims=1)
    x = n.op("Squeeze", x, n.init("val", i64(2, 3)))
    x = n.op("MatMul", x, n.init("weight", n.random((16, 6), 0.4)))
    x = n.op("Add", x, n.init("bias", n.random(6, 0.1)))
    n.save(n.op("Softmax", x, axis=-1), 6)


def fire_legacy():
    """SqueezeNet-like: MaxPool with ceil_mode, Concat, GELU written out with Erf, SiLU, Pad before a convolution."""
    n = Net("fire_legacy", (3, 20, 20), 17, batch=1)
    x = n.op("Pad", "input", n.constant(i64(0, 0, 2, 1, 0, 0, 1, 2)), n.constant(f32(0.0)), mode="constant")
    x = n.conv(x, 3, 8, 3, strides=[2, 2])
    e = n.op("Erf", n.op("Div", x, n.constant(f32(np.sqrt(2)))))
    x = n.op("Mul", n.op("Mul", x, n.op("Add", e, n.constant(f32(1.0)))), n.constant(f32(0.5)))
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    s = n.op("Relu", n.conv(x, 8, 4, 1))
    left = n.op("Relu", n.conv(s, 4, 6, 1))
    right = n.op("Relu", n.conv(s, 4, 6, 3, pads=[1, 1, 1, 1]))
    x = n.op("Concat", left, right, axis=1)
    x = n.conv(x, 12, 7, 1)
    x = n.op("Mul", x, n.op("Sigmoid", x))
    x = n.op("GlobalAveragePool", x)
    n.save(n.op("Flatten", x), 7)


def shapes_legacy():
    """Opset 9 with the shape arithmetic of x.view(x.size(0), -1), attributes for axes, generated weights, a Softmax."""
    n = Net("shapes_legacy", (2, 9, 9), 9)
    x = n.bn(n.conv("input", 2, 6, 3, strides=[2, 2]), 6)
    x = n.op("Tanh", x)
    x = n.op("AveragePool", x, kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 0, 0], count_include_pad=1)
    batch = n.op("Unsqueeze", n.op("Gather", n.op("Shape", x), n.constant(np.array(0, dtype=np.int64)), axis=0), axes=[0])
    shape = n.op("Concat", batch, n.op("Unsqueeze", n.constant(np.array(-1, dtype=np.int64)), axes=[0]), axis=0)
    x = n.op("Reshape", x, shape)
    w = n.op("ConstantOfShape", n.constant(i64(5, 96)), value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.01]))
    w = n.op("Transpose", n.op("Add", w, n.init("weight", n.random((5, 96), 0.1))), perm=[1, 0])
    x = n.op("MatMul", x, w)
    n.save(n.op("Softmax", n.op("Dropout", x), axis=1), 5)


def horner_dynamo():
    """Polynomials in Horner form, sums of branches, normalisation of the input, SAME padding, opset 22."""
    n = Net("horner_dynamo", (3, 12, 12), 22)
    mean = n.init("mean", f32([[[0.1]], [[0.2]], [[-0.1]]]))
    deviation = n.init("std", f32([[[2.5]], [[2.6]], [[2.7]]]))
    x = n.op("Div", n.op("Sub", "input", mean), deviation)
    x = n.conv(x, 3, 6, 3, auto_pad="SAME_UPPER", strides=[2, 2])
    half = lambda v: n.init("val", f32(v))
    p = n.op("Add", n.op("Mul", x, half(0.05)), half(0.2))
    p = n.op("Add", n.op("Mul", p, x), half(0.4))
    p = n.op("Sub", n.op("Mul", p, x), half(0.1))
    y = n.op("Mul", p, p)
    x = n.op("Sub", n.op("Neg", y), n.op("Mul", p, half(-0.5)))
    a = n.conv(x, 6, 6, 3, pads=[1, 1, 1, 1])
    b = n.conv(x, 6, 6, 1)
    x = n.op("Sum", a, b)
    x = n.op("Pow", x, n.init("val", i64(3)))
    x = n.op("AveragePool", x, kernel_shape=[3, 3], strides=[3, 3])
    x = n.op("Transpose", x, perm=[0, 1, 2, 3])
    x = n.op("Reshape", x, n.init("val", i64(0, -1)))
    n.save(n.op("LogSoftmax", n.gemm(x, 24, 4), axis=1), 4)


def vgg_legacy():
    """Like VGG: stacked convolutions, ReLU, MaxPool, three fully connected layers with Dropout."""
    n = Net("vgg_legacy", (3, 16, 16), 12, batch=1)
    x, cin = "input", 3
    for cout in (6, 8):
        for _ in range(2):
            x = n.op("Relu", n.conv(x, cin, cout, 3, pads=[1, 1, 1, 1]))
            cin = cout
        x = n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = n.op("Reshape", x, n.constant(i64(1, 128)))
    x = n.op("Dropout", n.op("Relu", n.gemm(x, 128, 24)))
    x = n.op("Relu", n.gemm(x, 24, 16))
    n.save(n.gemm(x, 16, 10), 10)


def unsupported():
    """Everything at once that is refused by name; no outputs are stored."""
    n = Net("unsupported", (3, 16, 16), 17)
    x = n.op("Relu", n.conv("input", 3, 8, 3, pads=[1, 1, 1, 1]))
    x = n.op("LRN", x, size=5, name="/features/lrn")
    x = n.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=0, name="/features/pool")
    w = n.init("weight", n.random((8, 8, 2, 2), 0.3))
    y = n.op("ConvTranspose", x, w, strides=[2, 2], name="/decoder/up")
    gate = n.op("Sigmoid", n.op("GlobalAveragePool", x))
    x = n.op("Mul", x, gate, name="/attention/gate")
    # Taken since: the layer behind it follows.
    x = n.op("Transpose", x, perm=[0, 2, 3, 1], name="/head/nhwc")
    x = n.op("Flatten", x)
    z = n.op("Flatten", n.op("InstanceNormalization", y, n.init("g", np.ones(8, np.float32)), n.init("b", np.zeros(8, np.float32)), name="/decoder/norm"))
    x = n.op("Add", n.gemm(x, 512, 4), n.gemm(z, 2048, 4))
    onnx.save(n.model(x, 4), HERE / "unsupported.onnx")


if __name__ == "__main__":
    for make in (lenet_dynamo, resnet_legacy, mobile_dynamo, fire_legacy, shapes_legacy, horner_dynamo, vgg_legacy, unsupported):
        make()
