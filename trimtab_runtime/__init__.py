"""What runs on the device: plans, bundles, engines and the probe that measures them.

Needs Python 3.9+, NumPy 1.22+, Pillow and what a bundle names (engines, OpenCV); nothing else.
"""

import os

# onnxruntime's official wheels report to their makers unless told not to before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from trimtab_runtime.plans.plan import Answer, Plan

__all__ = ["Answer", "Plan", "__version__"]

__version__ = "0.1.0"
