"""Where steps over models are carried out: on this machine, or on the nodes of a Ray cluster."""

from trimtab.variants.execution.choice import executor_on
from trimtab.variants.execution.work import Executor, Here, Work

__all__ = ["Executor", "Here", "Work", "executor_on"]
