"""From brain-tumour MRI slices to classified, explained, anatomically named and narrated findings."""

__version__ = "0.1.0"
