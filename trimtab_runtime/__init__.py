"""What runs on the device: plans, bundles, engines and the probe that measures them.

Needs Python 3.9+, NumPy 1.22+, Pillow and the engines that a bundle names; nothing else.
"""

from trimtab_runtime.plan import Answer, Plan

__all__ = ["Answer", "Plan", "__version__"]

__version__ = "0.1.0"
