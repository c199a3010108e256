"""A vocabulary in which one sees what was parsed for control tokens."""

CONTROL = {"<|im_start|>": 1, "<|im_end|>": 2, "<s>": 3}


class ByteVocabulary:
    """Control tokens 1 to 3; every other character is its code point plus 10."""

    bos_text = "<s>"
    eos_text = "<|im_end|>"

    def __init__(self, *, adds_bos: bool = False) -> None:
        self.adds_bos = adds_bos
        self.control_walks = 0

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        tokens = [3] if add_special and self.adds_bos else []
        while text:
            control = next((c for c in CONTROL if parse_special and text.startswith(c)), None)
            tokens.append(CONTROL[control] if control else ord(text[0]) + 10)
            text = text[len(control) if control else 1 :]
        return tokens

    def control_texts(self) -> list[str]:
        self.control_walks += 1
        return list(CONTROL)


def shown(tokens: list[int]) -> str:
    """Tokens as text, control tokens in brackets."""
    names = {number: f"[{text}]" for text, number in CONTROL.items()}
    return "".join(names.get(token) or chr(token - 10) for token in tokens)
