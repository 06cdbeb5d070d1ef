"""The texts of the project are in plain American English: phrases that make them hard to read do not come back."""

import re
import subprocess
import tokenize

import pytest

from helpers.repository import REPOSITORY

# Regular expressions of phrases, each with a better one.
PHRASES = {
    "anew": "again",
    "suffic(?:e|es|ed|ing)": "be enough",
    "of no matter": "ignored",
    "(?:is|are|was|were) told(?! apart)": "gets",
    "told of": "mentioned",
    "tells? of": "mention",
    "asked for": "requested",
    "(?:is|are) said of": "holds for",
    "of ours": "of Tessera",
    "such a one": "the noun itself",
    "as far as it goes": "",
    "(?:is|are|was|were) set aside": "skipped",
    "of its like": "of the same kind",
    "whatever for": "for any reason",
    "hangs? together": "be connected",
    "goes on alike": "continue in the same way",
}
# British spellings, each with the American one.
SPELLINGS = {
    r"\w*colour\w*": "color",
    r"\w*normalis\w*": "normalize",
    r"grey\w*": "gray",
    r"neighbour\w*": "neighbor",
    r"behaviour\w*": "behavior",
    r"optimis\w*": "optimize",
    r"centre\w*": "center",
    r"micrometres?": "micrometer",
    r"\w*metres?": "meter",
    "licence": "license",
    r"modell(?:ed|ing)": "model",
    r"labell(?:ed|ing)": "label",
    r"recognis\w*": "recognize",
    r"summaris\w*": "summarize",
    r"initialis\w*": "initialize",
    r"organis\w*": "organize",
    "learnt": "learned",
    r"artefacts?": "artifact",
}
BETTER = PHRASES | SPELLINGS
WRONG = re.compile(rf"\b(?:{'|'.join(BETTER)})\b", flags=re.IGNORECASE)

PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "config", "bench/README.md")
CODE = ("Snakefile", "workflow/rules", "workflow/report", "workflow/scripts")
PROSE = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
# Quoted names that others chose, such as units of OME-Zarr, and old names of settings.
FOREIGN = re.compile(r"""["'`](?:\w*metre|grey\w*|centre|(?:\w+\.)?normalisation)["'`]""")
INSERTED = re.compile(r"\{[^{}]*\}")  # code in an f-string, which Python 3.11 gives as part of the string


def tracked_files(*patterns):
    """The text files that git tracks at `patterns`, as paths relative to the repository."""
    command = ["git", "ls-files", "-z", *patterns]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True).stdout.split("\0")
    return [name for name in names if name and (REPOSITORY / name).is_file()]


def lines_of(name):
    """(number, line) of the prose of a file: the comments and strings of Python, and all lines of other files."""
    path = REPOSITORY / name
    if path.suffix != ".py":
        yield from enumerate(path.read_text().splitlines(), start=1)
        return
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in PROSE:
                is_f_string = token.type == tokenize.STRING and "f" in re.match(r"\w*", token.string)[0].lower()
                text = INSERTED.sub("{}", token.string) if is_f_string else token.string
                yield from enumerate(text.splitlines(), start=token.start[0])


def wrong_words(name):
    """Texts such as `docs/data.md:12: "anew"; write "again"` for the wrong words of a file."""
    for number, line in lines_of(name):
        for match in WRONG.finditer(FOREIGN.sub("", line)):
            better = next(text for phrase, text in BETTER.items() if re.fullmatch(phrase, match[0], re.IGNORECASE))
            yield f'{name}:{number}: "{match[0]}"' + (f'; write "{better}"' if better else "")


@pytest.mark.parametrize("name", tracked_files(*PAGES, *CODE))
def test_file_has_no_banned_words(name):
    words = list(wrong_words(name))
    assert not words, "\n".join(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It is trained anew.", ["anew"]),
        ("The greyscale colours", ["greyscale", "colours"]),
        ("it is told its size by those of ours", ["is told", "of ours"]),
        ('a unit "micrometre", six parameters and hours of work', []),
    ],
)
def test_banned_words_are_found(text, words):
    assert [match[0] for match in WRONG.finditer(FOREIGN.sub("", text))] == words


def test_code_is_not_prose(tmp_path, monkeypatch):
    (tmp_path / "module.py").write_text('"""Grey."""\n\n\ndef colour(grey):  # anew\n    return f"{grey} neighbour"\n')
    monkeypatch.setitem(globals(), "REPOSITORY", tmp_path)
    assert [text.split(":")[1] for text in wrong_words("module.py")] == ["1", "4", "5"]
