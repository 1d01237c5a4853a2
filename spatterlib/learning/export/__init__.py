"""Models for other programs: an ONNX file or a program of ``torch.export``, compared before they are there."""

from spatterlib.learning.export.writing import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
