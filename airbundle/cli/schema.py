"""`airbundle schema`: the JSON Schema of a document, for editors and for checks in CI."""

from __future__ import annotations

import argparse
from typing import Any

from airbundle.cli.console import Console

HELP = "Print the JSON Schema (draft 2020-12) of bundle.yaml, site.yaml or knowledge of operators, for editors."
EXAMPLE = (
    "  airbundle schema bundle > bundle.schema.json\n"
    "  # then, as the first line of bundle.yaml: # yaml-language-server: $schema=bundle.schema.json"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("document", choices=("bundle", "operators", "site"), help="which document")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Print the schema."""
    from airbundle.bundle.schema import document_schema, json_schema, published
    from airbundle.scan.knowledge_fields import DOCUMENT

    schema = document_schema("operators", DOCUMENT) if args.document == "operators" else json_schema(args.document)
    console.say(published(schema).rstrip("\n"))
    return {"schema": schema}
