"""Texts that tokenizers disagree about, and random ones out of the same material."""

import random

FIXED = [
    "",
    " ",
    "  ",
    "\n",
    "a",
    "Hello, world!",
    "Café naïve façade — “quotes” … ½ ² Ⅷ ٣٤٥ 1234567890",
    "Cafe\u0301 A\u030angstro\u0308m \u1112\u1161\u11ab",
    "12 345 6789 0.5e-10 1,000,000 1a2b3",
    "🦀 👩‍👩‍👧‍👦 🇩🇪 ❤️ 🏳️‍🌈 🧑🏽‍🚀",
    "   leading",
    "trailing   ",
    "a  b   c    d\t\te\n\n\nf \n g\r\nh\r\n\r\ni \t \n x",
    "漢字仮名交じり文、テスト。한국어 텍스트입니다. 中文测试,标点。",
    "Русский текст и ελληνικά, עברית, العربية, हिन्दी में पाठ, ไทย",
    "def f(x):\n    return x**2  # comment\n\n\tif x != 3:\n\t\tprint(f\"{x!r}\")\n",
    "<|im_start|>system\nYou are<|im_end|>\n<|endoftext|><s></s>[INST] x [/INST] <think>a</think> <unk><0x0A> <pad>",
    "I'm you're he's THEY'LL we'D it'S o'clock 'tis 's't're've'm'll'd 'ſ",
    "\u00a0nbsp\u00a0\u00a0x \u2003em \u3000全角\u3000\u3000空白 \u200bzero\u200b \ufeffbom",
    "ﬁ ligature \u212b K \u2126 ẛ̣ ǆ",
    "\x00\x01\x02\x03\x1b[0m\x7f\x85\u2028\u2029",
    "a" * 300,
    "ab" * 200 + " " * 100,
    "!" * 77 + "?!" * 30,
    "=== --- *** ___ /// \\\\ ||| ```",
    "https://example.com/path?q=1&r=2#frag user@example.org",
    "∑∫√≠≈ → ⇒ ℝ 𝔸𝕓 𝒳 🄰 ①②③ ㊗ ㍿",
    "ꙮ ᚠᚢᚦ 𐍈𐌰 𒀀 🀄",
    "\u0e01\u0e34\u0e19 \u0915\u094d\u0937 \u0ba8\u0bbf",
    "▁▁ ▁a Ġ Ċ ĠĠ",
    "\n\n  \n   \n\t\n a",
    "１２３ ٠١٢ ⅓⅔",
    "e\u0301e\u0302e\u0323\u0302",
]


def _characters(*ranges):
    return [chr(code) for first, end in ranges for code in range(first, end)]


POOLS = [
    _characters((32, 127)),
    list(" \t\n\r\u00a0\u3000  "),
    list("abcdefghij ABC 0123'\"<>|/[]{}()_-.,!? \n"),
    _characters((0xA1, 0x250)),
    _characters((0x370, 0x378), (0x400, 0x460), (0x5D0, 0x5EB), (0x620, 0x64B)),
    _characters((0x4E00, 0x4F00), (0x3041, 0x3097), (0x30A1, 0x30FB), (0xAC00, 0xAD00)),
    _characters((0x1F600, 0x1F64F)) + list("\u200d\ufe0f\U0001f3fb\U0001f1e6\U0001f1e7"),
    _characters((0x300, 0x330)) + list("aeiouAEIOU"),
    _characters((0x904, 0x93A), (0x93E, 0x94D)),
    ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<think>", "</think>", "<unk>", "[INST]", "<|endoftext|>"],
    ["the ", "and ", "of", "ing", "Hello", " world", " don't", "123", "  ", "\n\n", "function", "();\n", "    "],
]


def texts(count=2000, seed=1):
    """The fixed texts and `count` random ones."""
    chance = random.Random(seed)
    made = list(FIXED)
    for _ in range(count):
        pools = chance.sample(POOLS, chance.randint(1, 3))
        made.append("".join(chance.choice(chance.choice(pools)) for _ in range(chance.randint(1, 60))))
    return made
