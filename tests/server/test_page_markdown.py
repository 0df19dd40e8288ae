"""Markdown in the web page: what it shows, what it never becomes, and how it grows."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect

from server.browser import answering, answers, ask, screenshot, until, visiting
from server.running import Running

RENDER = """async (texts) => {
    const { MarkdownView } = await import("/web/markdown.js");
    return texts.map((text) => {
        const shown = document.createElement("div");
        new MarkdownView(shown).update(text);
        return shown.innerHTML;
    });
}"""
# Whether a text that comes in pieces, cut at each of `cuts`, ends as if it had come whole.
GROWS = """async ([text, cuts]) => {
    const { MarkdownView } = await import("/web/markdown.js");
    const [whole, grown] = ["div", "div"].map((name) => document.createElement(name));
    new MarkdownView(whole).update(text);
    const view = new MarkdownView(grown);
    for (const cut of [...cuts, text.length]) view.update(text.slice(0, cut));
    return whole.isEqualNode(grown);
}"""
# Which tops of the answer remain the same nodes while it grows from `before` to `after`.
STAYS = """async ([before, after]) => {
    const { MarkdownView } = await import("/web/markdown.js");
    const shown = document.createElement("div");
    const view = new MarkdownView(shown);
    view.update(before);
    const nodes = Array.from(shown.childNodes);
    let touched = [];
    const observer = new MutationObserver(() => {});
    observer.observe(shown, { subtree: true, childList: true, characterData: true, attributes: true });
    view.update(after);
    for (const { target } of observer.takeRecords()) touched.push(nodes.findIndex((node) => node.contains(target)));
    return [nodes.map((node, index) => shown.childNodes[index] === node), [...new Set(touched)]];
}"""
# How deep the elements of a text lie in each other, and what it shows.
PILED = """async (text) => {
    const { MarkdownView } = await import("/web/markdown.js");
    const shown = document.createElement("div");
    new MarkdownView(shown).update(text);
    document.querySelector("#messages").append(shown);
    let depth = 0;
    for (let node = shown; node; node = node.lastElementChild) depth += 1;
    for (let node = shown; node; node = node.firstElementChild) depth += 1;
    const found = [depth, shown.innerText];
    shown.remove();
    return found;
}"""
# What the renderer makes of model text: elements, and the attributes that they may have.
ALLOWED: dict[str, set[str]] = {
    "p": set(), "h3": set(), "h4": set(), "h5": set(), "h6": set(), "ul": set(), "ol": {"start"}, "li": set(),
    "blockquote": set(), "hr": set(), "br": set(), "em": set(), "strong": set(), "del": set(), "code": set(),
    "pre": {"tabindex"}, "div": {"class", "tabindex"}, "span": {"class"}, "button": {"type", "class", "data-action"},
    "table": set(), "thead": set(), "tbody": set(), "tr": set(), "th": {"class"}, "td": {"class"},
    "a": {"href", "title", "target", "rel"},
}  # fmt: skip
OPEN_ENDED = ("br", "hr")
HOSTILE = """
# <script>pwned = 1</script>

<script>pwned = 1</script> <img src=x onerror="pwned = 1"> <svg onload=pwned=1>
<iframe srcdoc="<script>parent.pwned=1</script>">

<div style="background: url(https://elsewhere.example/track)" onclick="pwned = 1">text</div>

[a](javascript:pwned=1) [b](JaVaScRiPt:pwned=1) [c](java\nscript:pwned=1) [d](&#106;avascript:pwned=1)
[e](<javascript:pwned=1>) [f](data:text/html,<script>pwned=1</script>) [g](vbscript:x) [h](\\javascript:pwned=1)
[i]( javascript:pwned=1) [j](%6Aavascript:pwned=1) [k](//elsewhere.example) [l](/v1/models) [m](blob:x) [n](file:///etc)
<javascript:pwned=1> <data:text/html,x> ![x](https://elsewhere.example/track.png)
![y](data:image/svg+xml,<svg/onload=pwned=1>)
[ok](https://elsewhere.example/" onmouseover="pwned=1)
[ok](https://elsewhere.example/?a=<b> "ti\\"tle' onfocus=pwned=1")

> - **[x](javascript:pwned=1)** ![z](x "onerror=pwned=1")
>   | <script>pwned=1</script> | `<img src=x onerror=pwned=1>` |
>   |---|---|
>   | <a href="javascript:pwned=1">x</a> | &lt;script&gt;pwned=1&lt;/script&gt; |

```html" onmouseover="pwned=1
</code></pre><script>pwned = 1</script>
```

$$<img src=x onerror=pwned=1>$$ \\(<script>pwned=1</script>\\) &#60;script&#62;pwned=1&#60;/script&#62;

<!-- <script>pwned=1</script> --> <![CDATA[<script>pwned=1</script>]]> <?php pwned ?>
<base href="https://elsewhere.example"> <meta http-equiv="refresh" content="0;url=https://elsewhere.example">
<form action="https://elsewhere.example"><button>go</button>
"""


@pytest.fixture(scope="module")
def page(browser: Browser, server: Running) -> Iterator[Page]:
    with visiting(browser, server.url) as visited:
        yield visited


class Rendered(HTMLParser):
    """What the page shows, as another renderer would write it: without what it adds around code and tables. Raises
    for elements and attributes that are not allowed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.outline = ""
        self.links: list[str] = []
        self._left_out: list[bool] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return re.sub(r"<[^>]*>", "", self.outline)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert attributes.keys() <= ALLOWED[tag], (tag, attributes)
        if tag == "a":
            assert attributes["href"].startswith(("http://", "https://", "mailto:"))
            assert attributes["rel"] == "noopener noreferrer"
            self.links.append(attributes["href"])
        if tag not in OPEN_ENDED:
            in_bar = bool(self._left_out and self._left_out[-1]) or attributes.get("class") == "bar"
            self._left_out.append(in_bar)
            if in_bar:
                return
        if tag not in ("div", "span"):
            what = attributes.get("href") or attributes.get("start") or attributes.get("class") or ""
            self.outline += f"<{tag} {escaped(what)}>"

    def handle_endtag(self, tag: str) -> None:
        if not self._left_out.pop() and tag not in ("div", "span"):
            self.outline += f"</{tag}>"

    def handle_data(self, data: str) -> None:
        if not (self._left_out and self._left_out[-1]):
            self.outline += escaped(data)


class Reference(HTMLParser):
    """What GitHub's own program makes of a text, in the same form."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outline = ""
        options = Options.CMARK_OPT_HARDBREAKS | Options.CMARK_OPT_STRIKETHROUGH_DOUBLE_TILDE
        self.feed(cmarkgfm.markdown_to_html_with_extensions(text, options, ["table", "strikethrough"]))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        what = attributes.get("href") or attributes.get("start") or attributes.get("align") or ""
        self.outline += f"<{lowered(tag)} {escaped(what)}>"

    def handle_endtag(self, tag: str) -> None:
        self.outline += f"</{lowered(tag)}>"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outline += f"<{tag} >"

    def handle_data(self, data: str) -> None:
        self.outline += escaped(data)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lowered(tag: str) -> str:
    """Headings stand below those of the page."""
    return f"h{min(int(tag[1]) + 2, 6)}" if re.fullmatch("h[1-6]", tag) else tag


def compared(outline: str) -> str:
    """Without white space that shows nowhere, and without paragraphs in lists, for which GitHub's program is older
    than the specification.
    """
    outline = re.sub("(?<!<pre >)<code >([^<]*)", lambda found: f"<code >{' '.join(found[1].split())}", outline)
    outline = re.sub(r"\s*</?p ?>\s*", "¶", outline)
    outline = re.sub(r"[\s¶]*(</?(?:[uo]l|li|blockquote|table|t\w+|pre|hr|br|h\d) ?[^>]*>)[\s¶]*", r"\1", outline)
    return re.sub("\n+</code></pre>", "</code></pre>", outline).strip("\n¶")


def render(page: Page, *texts: str) -> list[Rendered]:
    return [Rendered(html) for html in page.evaluate(RENDER, list(texts))]


STARTS = ["", "", "", "> ", "- ", "* ", "+ ", "1. ", "2) ", "10. ", "# ", "### ", ">", "    ", "  ", "   "]
PIECES = [
    "ab", "cd", "ef.", "*", "**", "_", "__", "`", "[", "](mailto:a@b.c)", "]", "< ", "!", "\\*", "\\", "  ",
    "(x)", "-", "+", "1.", "#", "ab*cd", "a_b", "***", '"q"', "|",
]  # fmt: skip
LINES = [
    "", "", "", "---", "***", "===", "```", "~~~", "```py", "| a | b |", "|---|:-:|", "a | b", "> ", "-", "1.",
    "    code", "# ", "## h ##", "- - x", "* * *", "~~ab cd~~",
]  # fmt: skip
body = st.sampled_from(LINES) | st.lists(
    st.tuples(st.sampled_from(PIECES), st.sampled_from(["", " "])), min_size=1, max_size=6
).map(lambda pieces: "".join(piece + space for piece, space in pieces))
line = st.tuples(st.integers(0, 5), st.lists(st.sampled_from(STARTS), max_size=2), body).map(
    lambda parts: " " * parts[0] + "".join(parts[1]) + parts[2]
)
document = st.lists(line, min_size=1, max_size=7).map("\n".join)
# Meant here otherwise than by GitHub: pictures and links without a text show their address, other pages of this server
# are no links; boxes and formulas are not theirs; they look for a table's head once in a paragraph.
OTHERWISE = re.compile(r"\[\s*\]|!\[|\]\(x|\\\[|---\|[^$]*---\|")


@settings(max_examples=400)
@given(text=document.filter(lambda text: not OTHERWISE.search(text)))
def test_markdown_means_what_it_means_elsewhere(page: Page, text: str) -> None:
    (rendered,) = render(page, text)
    assert compared(rendered.outline) == compared(Reference(text).outline)


WORD = st.integers(0, 999).map("word{}".format)
WRAPPED = st.sampled_from([
    "{}", "**{}**", "*{}*", "`{}`", "~~{}~~", "[{}](https://example.org)", "![{}](https://example.org)", "<b>{}</b>",
    "[{}](javascript:x)", "$${}$$", "\\({}\\)", "<{}", "[{}", "**{}", "`{}", "{}](", "&lt;{}&gt;",
    "<https://{}.org>", "{}<br>",
])  # fmt: skip
PREFIX = st.sampled_from(
    ["", "", "# ", "- ", "1. ", "> ", "> - ", "    ", "| ", "- [ ] ", "```\n", "$$\n", "\\[\n", "\n"]
)
wordy = st.lists(
    st.tuples(PREFIX, st.lists(st.tuples(WRAPPED, WORD), min_size=1, max_size=4)), min_size=1, max_size=8
).map(lambda lines: "\n".join(start + " ".join(form.format(word) for form, word in words) for start, words in lines))


@settings(max_examples=200)
@given(text=wordy)
def test_no_word_is_lost(page: Page, text: str) -> None:
    (rendered,) = render(page, text)
    assert re.findall(r"word\d+", rendered.text) == re.findall(r"word\d+", text)


anything = document | wordy | st.text(st.sampled_from("ab \n*_`~[]()<>!|#-+1.:\\&;$>\"'\t\r中，「」"), max_size=80)


@settings(max_examples=150)
@example(text="ab\nab\n|---|:-:|", cuts=[8])  # what looks like a table's head is none
@given(text=anything, cuts=st.lists(st.integers(0, 200), max_size=12))
def test_a_text_in_pieces_ends_as_if_it_had_come_whole(page: Page, text: str, cuts: list[int]) -> None:
    assert page.evaluate(GROWS, [text, sorted(min(cut, len(text)) for cut in cuts)])


def test_every_cut_of_a_long_text(page: Page) -> None:
    assert page.evaluate(GROWS, [HOSTILE, list(range(len(HOSTILE)))])


def test_complete_blocks_are_left_alone(page: Page) -> None:
    before = "First\n\n- a\n- b\n\n```\none\n"
    stayed, touched = page.evaluate(STAYS, [before, before + "two\n```\n\nnext *one*\n\n| a |\n|---|\n"])
    assert stayed == [True, True, True]
    assert 0 not in touched
    assert 1 not in touched


CASES = {
    "line\nbreak": "<p >line<br >break</p>",
    "**「中文」**后面": "<p ><strong >「中文」</strong>后面</p>",
    "中文**「强调」**中文": "<p >中文<strong >「强调」</strong>中文</p>",
    "see https://a.example/x_(y). And https://b.example/*c*!": (
        "<p >see <a https://a.example/x_(y)>https://a.example/x_(y)</a>. And"
        " <a https://b.example/*c>https://b.example/*c</a>*!</p>"
    ),
    "**https://a.example/**": "<p ><strong ><a https://a.example/>https://a.example/</a></strong></p>",
    "请看https://a.example/。谢谢": "<p >请看<a https://a.example/>https://a.example/</a>。谢谢</p>",
    "[![alt](https://a.example/i.png)](https://b.example/)": "<p ><a https://b.example/>alt</a></p>",
    "![](https://a.example/i.png)": "<p ><a https://a.example/i.png>https://a.example/i.png</a></p>",
    "- [ ] do\n- [x] done": "<ul ><li >☐ do</li><li >☑ done</li></ul>",
    "costs $5 and $6, $a*b*c$": "<p >costs $5 and $6, $a*b*c$</p>",
    "$$\na * b * c\n+ d\n$$\nafter": "$$\na * b * c\n+ d\n$$<p >after</p>",
    "\\(a_1 * b_2 * c\\)": "<p >\\(a_1 * b_2 * c\\)</p>",
    "a<br>b<br/>c": "<p >a<br >b<br >c</p>",
    "&lt;b&gt; &amp;amp; &#x41; &unknown; &#0;": "<p >&lt;b&gt; &amp;amp; A &amp;unknown; \ufffd</p>",
    "[1]: https://a.example": "<p >[1]: <a https://a.example/>https://a.example</a></p>",
    "| a |\n|---|\n| `x \\| y` | more |": (
        "<table ><thead ><tr ><th >a</th></tr></thead><tbody ><tr ><td ><code >x | y</code></td></tr></tbody></table>"
    ),
    "": "",
    "- a\n- b\n  - c\n\n\nd": "<ul ><li >a</li><li >b<ul ><li >c</li></ul></li></ul><p >d</p>",
    "- a\n\n- b": "<ul ><li ><p >a</p></li><li ><p >b</p></li></ul>",
    "- a\n\n  b\n- c": "<ul ><li ><p >a</p><p >b</p></li><li ><p >c</p></li></ul>",
    "- a\n  - b\n\n  - c\n- d": "<ul ><li >a<ul ><li ><p >b</p></li><li ><p >c</p></li></ul></li><li >d</li></ul>",
    "- a\n  > b\n  >\n- c": "<ul ><li >a<blockquote ><p >b</p></blockquote></li><li >c</li></ul>",
    "- a\n  ```\n\n    b\n  ```\n- c": "<ul ><li >a<pre ><code >\n  b</code></pre></li><li >c</li></ul>",
    "\r\n# a\r\nb\r\n": "<h3 >a</h3><p >b</p>",
}


def test_what_is_our_own(page: Page) -> None:
    for text, rendered in zip(CASES, render(page, *CASES), strict=True):
        assert rendered.outline == CASES[text], text


PILES = [
    "[",
    "*a ",
    "a* ",
    "` ",
    "[a](",
    "[a](<",
    "> ",
    "- ",
    "1. ",
    "\\(",
    "$a ",
    "<a",
    "&",
    "**a",
    "_a _",
    "~~a",
    "![",
]


@pytest.mark.parametrize("piece", PILES)
def test_no_nesting_is_too_deep(page: Page, piece: str) -> None:
    """Neither for the page's own functions nor for the browser that lays it out."""
    depth, text = page.evaluate(PILED, piece * 5000)
    assert depth < 100
    assert text.count("a") == 5000 * piece.count("a")


def test_hostile_text_stays_text(browser: Browser, server: Running) -> None:
    with visiting(browser, server.url) as page:
        reasoning = {"choices": [{"index": 0, "delta": {"reasoning_content": HOSTILE}}]}
        pieces = [HOSTILE[start : start + 7] for start in range(0, len(HOSTILE), 7)]
        answering(page, reasoning, *pieces)
        ask(page, HOSTILE)
        expect(answers(page)).to_contain_text("go")
        page.locator(".thinking summary").click()
        expect(page.locator(".thinking > div")).to_contain_text("go")
        shown: list[Any] = [Rendered(html) for html in page.locator(".markdown, .thinking > div").evaluate_all(
            "all => all.map((one) => one.innerHTML)"
        )]  # fmt: skip
        assert len(shown) == 2
        for rendered in shown:
            assert rendered.text.count("pwned") > 20
            assert {link.partition("?")[0] for link in rendered.links} <= {
                "https://elsewhere.example/", "https://elsewhere.example", "https://elsewhere.example/track",
                "https://elsewhere.example/track.png",
            }  # fmt: skip
        expect(page.locator(".question .text")).to_have_text(HOSTILE.strip(), use_inner_text=False)
        for element in page.locator(".markdown *:not(a)").all()[:40]:
            element.dispatch_event("mouseover")
            element.dispatch_event("click")
        screenshot(page, "hostile")
        page.reload()
        expect(answers(page)).to_contain_text("go")
        assert page.evaluate("typeof pwned") == "undefined"
        assert page.locator("script:not([src]), iframe, form, base, object, embed, [onclick], [onerror]").count() == 0


def test_code_is_copied(browser: Browser, server: Running) -> None:
    with visiting(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        answering(page, "Some **code**:\n\n```python\nprint('<b>')\n```\n")
        ask(page, "Code?")
        page.get_by_role("button", name="Copy", exact=True).click()
        expect(page.get_by_role("status")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == "print('<b>')"
        page.get_by_role("button", name="Copy the answer").click()
        until(page, "() => navigator.clipboard.readText().then((text) => text.startsWith('Some **code**'))")


def test_events_may_come_in_any_pieces(page: Page) -> None:
    stream = (
        ': comment\r\n\r\ndata: {"a":\r\ndata: 1}\r\rdata:two\n\nevent: x\ndata\n\nid: 3\n\ndata: left out at the end'
    )
    read = """async (stream) => {
        const { EventReader } = await import("/web/stream.js");
        const found = new Set();
        for (let cut = 0; cut <= stream.length; cut += 1) {
            const reader = new EventReader();
            found.add(JSON.stringify([...reader.push(stream.slice(0, cut)), ...reader.push(stream.slice(cut))]));
        }
        const slow = new EventReader();
        found.add(JSON.stringify(Array.from(stream).flatMap((character) => slow.push(character))));
        return Array.from(found, JSON.parse);
    }"""
    assert page.evaluate(read, stream) == [['{"a":\n1}', "two", ""]]
