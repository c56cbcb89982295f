"""portwatch: a guardrail in the kernel for who may bind which port."""

__version__ = "0.1.0"
