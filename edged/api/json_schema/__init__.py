"""JSON Schema as a grammar for llama.cpp: everything that it generates fulfils the schema.

A pure function of the schema, bounded in time and size. What cannot be held exactly is refused by name.
"""

from edged.api.json_schema.grammar import MAX_SCHEMA_CHARACTERS, Grammar, grammar_of

__all__ = ["MAX_SCHEMA_CHARACTERS", "Grammar", "grammar_of"]
