"""Steps over a user's model in a process of their own.

To read, rewrite or learn from a model is to run what is in it: it may never return, crash its
engine, or take all memory, and the job must outlive that.
"""

from trimtab.variants.isolation.limits import Limits, memory_for
from trimtab.variants.isolation.workers import Ask, call, end_idle

__all__ = ["Ask", "Limits", "call", "end_idle", "memory_for"]
