"""Small ONNX networks that stand for those of other programs."""

import numpy as np
import pytest


def foreign(path, channels, weights, sides=("h", "w"), count="n"):
    """Writes a network whose outputs are sums of input channels, with weights ``(outputs, channels)``."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = np.asarray(weights, "float32")[:, :, None, None]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["picture", "w"], ["classes"])],
        "foreign",
        [helper.make_tensor_value_info("picture", kind, [count, channels, *sides])],
        [helper.make_tensor_value_info("classes", kind, [count, len(weights), *sides])],
        [onnx.numpy_helper.from_array(values, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
