"""What is told of an engine's error: its reason, whole, and nothing of where in its source."""

import pytest

from trimtab_runtime.engines.base import told

ORT = "[ONNXRuntimeError] : 1 : FAIL : "
MODEL = "/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model"
UNTOUCHED = (
    "tensorflow/lite/kernels/conv.cc:357 input_channel % filter_input_channel != 0 (1 != 0)Node "
    "number 0 (CONV_2D) failed to prepare."
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"{ORT}{MODEL}(onnx::ModelProto&&, const std::function<void()>&) Unsupported model IR "
            "version: 99, max supported IR version: 13\n",
            "Unsupported model IR version: 99, max supported IR version: 13",
        ),
        (
            f"{ORT}Load model from a b.onnx failed:{MODEL}(onnx::ModelProto&&) Opset 99 (new)",
            "Opset 99 (new)",
        ),
        (
            f"{ORT}Load model from a.onnx failed:Fatal error: acme:My(-1) is not a registered "
            "function/op",
            "acme:My(-1) is not a registered function/op",
        ),
        (
            f"{ORT}Non-zero status code returned while running Reshape node. Name:'r' Status "
            "Message: /o/core/providers/cpu/reshape_helper.h:91 onnxruntime::H::H(const "
            "onnxruntime::TensorShape&, bool) a == b was false. Input shape:{1,3}, wanted (7)",
            "Non-zero status code returned while running Reshape node. Name:'r' Status Message: a "
            "== b was false. Input shape:{1,3}, wanted (7)",
        ),
        (
            "/x/a.cc:12 auto onnxruntime::F::operator()(int) const [with T = int] a was false.",
            "a was false.",
        ),
        (
            "/project/onnx/convert.h:96: assertInVersionRange: Assertion `version >= 1` failed: "
            "invalid version (must be between 1 and 28)",
            "invalid version (must be between 1 and 28)",
        ),
        (UNTOUCHED, UNTOUCHED),
        ("plain, (with) brackets", "plain, (with) brackets"),
        ("first line\nsecond line", "first line\nsecond line"),
    ],
)
def test_the_reason_is_kept(text: str, reason: str) -> None:
    assert told(RuntimeError(text)) == reason


def test_where_memory_ran_out_what_helps_comes_first() -> None:
    text = told(RuntimeError(f"{ORT}/x/a.cc:1 void onnxruntime::A::B(size_t) bad allocation"))
    assert text.startswith("too little memory; take a smaller model or input size")
    assert text.endswith("(bad allocation)")
