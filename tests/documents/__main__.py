"""Write the documents that are made from the code."""

from pathlib import Path

from tests.documents import DOCUMENTS

if __name__ == "__main__":
    for name, text in DOCUMENTS.items():
        (Path(__file__).resolve().parents[2] / name).write_text(text(), encoding="utf-8")
