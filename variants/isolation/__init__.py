"""Steps over a user's model in a process of their own.

To read, rewrite or learn from a model is to run what is in it: it may never return, crash its
engine, or take all memory, and the job must outlive that.
"""

from trimtab.variants.isolation.limits import Limits, memory_for
from trimtab.variants.isolation.workers import Ask, call

__all__ = ["Ask", "Limits", "call", "memory_for"]
