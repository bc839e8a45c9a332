"""Which rewrites are turned down, and which real texts must not be."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.quality import Rejection, check_instruction, check_response
from reflectune.records import Version

FRUITS = Version(instruction="Name three fruits.", response="Apple, banana and cherry.")
TIDES = Version(
    instruction="Explain how the moon causes the tides that we see at the coast.",
    response="The moon pulls at the water of the oceans, and the water that is nearest to it rises the most.",
)
POEM_ZH = Version(instruction="写一首关于秋天的短诗。", response="秋风吹过山岗，落叶铺满小路，远方的人还没有回来。")
LONG = " ".join(
    f"Sentence {word} says something of its own about the {word} harbour and its boats."
    for word in (
        "first",
        "old",
        "quiet",
        "grey",
        "busy",
        "northern",
        "small",
        "famous",
        "deep",
        "cold",
        "windy",
        "last",
    )
)


def reason(rejection: Rejection | None) -> str | None:
    return rejection.reason if rejection else None


def instruction(text: str, row: Version = TIDES, **more: str) -> str | None:
    return reason(check_instruction(text, row, **more))


def response(text: str, row: Version = TIDES, **more: str) -> str | None:
    return reason(check_response(text, row, **more))


# empty, truncated


@pytest.mark.parametrize("text", ["", "  \n\t", "...", '""', "…", "\u200b\ufeff", "\x00", "。"])
def test_nothing_to_read_is_empty(text: str) -> None:
    assert instruction(text) == response(text) == "empty"


@pytest.mark.parametrize("text", ["4", "-", "+", "🙂", "✓", "Yes", ">="])
def test_a_short_answer_is_not_empty(text: str) -> None:
    assert response(text) is None


def test_a_reply_that_was_cut_off_is_truncated() -> None:
    found = check_response("The moon and the sun both pull at the", TIDES, finish_reason="length")
    assert found.reason == "truncated"
    assert "both pull at the" in found.detail
    assert instruction("Explain why there are two high tides in a", finish_reason="length") == "truncated"


def test_a_loop_that_hits_the_limit_is_called_a_loop() -> None:
    assert response("The moon pulls. " * 40, finish_reason="length") == "loop"


# loop


@pytest.mark.parametrize(
    "text",
    [
        "The moon pulls at the sea. " * 8,
        "It all began well. " + "and then and then " * 12,
        "The tides come from the moon. N" + "o" * 60,
        "月亮引起潮汐。" + "潮水上涨，" * 20,
        "哈" * 60,
        "Here is a list.\n" + "".join(f"{number}. Drink more water.\n" for number in range(1, 12)),
        "答案如下。\n" + "".join(f"{number}、多喝水，注意休息。\n" for number in range(1, 16)),
        "\n\n".join(["The first paragraph is about the moon, and it goes on for quite a while about the sea."] * 5),
        "It repeats, and it is cut in the mid" + "dle of the phrase, in the mid" * 9,
        "<item>tide</item>\n" * 20,
        "0 " * 400,
    ],
)
def test_the_same_again_and_again_until_the_end_is_a_loop(text: str) -> None:
    assert response(text) == "loop"


@pytest.mark.parametrize(
    "text",
    [
        "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.",
        "The sea, the sea,\nit calls to me.\n\nThe wind, the wind,\nit blows.\n\nThe sea, the sea,\nit calls to me.",
        "Ha ha ha ha! That is a good one.",
        "Nooooooooooooo!",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
        "| Day | Tide |\n|---|---|\n| Mon | high |\n| Tue | high |\n| Wed | low |\n| Thu | high |\n",
        "Name: ____________________________________________________\nDate: ______________________________",
        "[[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]",
        "<ul><li>a</li><li>b</li></ul></div></div></div></div></div>",
        "for i in range(3):\n    print(i)\nfor j in range(3):\n    print(j)\nfor k in range(3):\n    print(k)\n",
        "2 x 1 = 2\n2 x 2 = 4\n2 x 3 = 6\n2 x 4 = 8\n2 x 5 = 10\n2 x 6 = 12\n2 x 7 = 14\n",
        "One fish, two fish. " * 3 + "Then the fisherman went home.",
    ],
)
def test_refrains_lists_tables_and_code_are_no_loops(text: str) -> None:
    assert response(text) is None


@pytest.mark.parametrize(
    "text",
    ["床前明月光，疑是地上霜。举头望明月，低头思故乡。", "北京、北京、北京，我爱北京。", "哈哈哈哈哈哈，真好笑。"],
)
def test_chinese_refrains_are_no_loops(text: str) -> None:
    assert response(text, POEM_ZH) is None


def test_a_row_that_loops_may_loop() -> None:
    row = Version(instruction="Say hello fifty times.", response="hello " * 50)
    assert response("Hello! " * 30, row) is None


@given(
    st.text(min_size=1, max_size=40).filter(lambda phrase: any(map(str.isalpha, phrase))),
    st.sampled_from(["", " ", "\n"]),
)
def test_any_phrase_thirty_times_is_a_loop(phrase: str, joint: str) -> None:
    assert response(f"The answer is this: {joint.join([phrase] * 30)}") == "loop"


# copy, echo


@pytest.mark.parametrize(
    "text", ["Name three fruits.", "name  THREE fruits", "Please name three fruits!", "**Name three fruits**\n"]
)
def test_the_old_instruction_is_a_copy(text: str) -> None:
    assert instruction(text, FRUITS) == "copy"


@pytest.mark.parametrize(
    "text",
    ["Name four fruits.", "Name three fruits that grow in Norway.", "Name three.", "Which three fruits do you eat?"],
)
def test_another_instruction_is_no_copy(text: str) -> None:
    assert instruction(text, FRUITS) is None


def test_chinese_copies_are_found() -> None:
    assert instruction("请写一首关于秋天的短诗", POEM_ZH) == "copy"
    assert response("秋风吹过山岗， 落叶铺满小路， 远方的人还没有回来", POEM_ZH) == "copy"
    assert instruction("写一首关于秋天思念的七言绝句。", POEM_ZH) is None


def test_an_instruction_with_its_input_merged_in_and_nothing_else_is_a_copy() -> None:
    row = Version(
        instruction="Sort these words.",
        response="a b c",
        input="pear, apple, fig, lemon, cherry, plum, grape, melon, peach, lime, kiwi, mango, date, quince, olive",
    )
    assert instruction(f"Sort these words:\n{row.input}", row) == "copy"
    assert instruction("Sort these words", row) == "copy"
    assert instruction(f"Sort these words by their last letter: {row.input}", row) is None


def test_nearly_the_same_long_response_is_a_copy() -> None:
    row = TIDES.model_copy(update={"response": LONG})
    assert response(LONG.upper().replace(" ", "\n"), row) == "copy"
    assert response(LONG.replace("windy harbour", "stormy harbour"), row) == "copy"


@pytest.mark.parametrize(
    "text",
    [
        LONG + " Together they make a coast that sailors have known for a thousand years.",
        LONG.replace("Sentence deep says something of its own about the deep harbour and its boats. ", ""),
        LONG.replace("boats", "fishing boats and ferries"),
        " ".join(reversed(LONG.split(". "))),
        "In 1912 " + LONG,
    ],
    ids=["a sentence more", "a sentence less", "details added", "another order", "a date added"],
)
def test_a_changed_long_response_is_no_copy(text: str) -> None:
    assert response(text, TIDES.model_copy(update={"response": LONG})) is None


def test_a_corrected_number_is_no_copy() -> None:
    row = TIDES.model_copy(update={"response": f"{LONG} It was built in 1912 by the city."})
    assert response(f"{LONG} It was built in 1914 by the city.", row) is None


def test_a_terse_answer_stays_right_when_its_instruction_is_rewritten() -> None:
    row = Version(instruction="Sentiment of: I love it", response="Positive")
    assert response("Positive", row) == "copy"
    assert response("Positive", row, instruction="Is the review 'I love it' positive or negative? One word.") is None
    long = TIDES.model_copy(update={"response": LONG})
    assert response(LONG, long, instruction="Describe twelve harbours, each in a sentence.") == "copy"


@given(st.text(min_size=1, max_size=300), st.sampled_from([" ", "\n", "  \t"]))
def test_case_and_white_space_hide_no_copy(text: str, space: str) -> None:
    row = Version(instruction="What is this about?", response=text)
    copied = space + space.join(text.split()).swapcase() + space
    if text.casefold() == text.swapcase().casefold():
        assert response(copied, row) in {"copy", "empty"}


def test_half_of_the_pair_in_the_place_of_the_other_is_an_echo() -> None:
    assert instruction(TIDES.response) == "echo"
    assert response(TIDES.instruction) == "echo"
    assert (
        response("Explain how two moons would cause tides", instruction="Explain how two moons would cause tides!")
        == "echo"
    )


# refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, but I can’t help you with this.",
        "Sorry, I cannot provide an answer to this.",
        "I apologize, but I am unable to fulfill your request.",
        "Unfortunately, I am not able to rewrite the text without more context.",
        "As an AI language model, I don't have access to real-time data.",
        "As an artificial intelligence, I cannot see the tides.",
        "I am an AI and do not have the ability to look at the sea.",
        "I cannot fulfill this request.",
        "I can't help with that.",
        "Sorry, the task involves audio output. The model is unreliable, so we cannot complete it.",
        "I'm sorry, but you didn't provide the text to summarise.",
        "很抱歉，我无法回答这个问题。",
        "对不起，作为一个人工智能助手，我不能提供这方面的帮助。",
        "作为一个AI语言模型，我无法访问实时数据。",
        "我无法完成这个请求。",
        "抱歉，您没有提供任何文本。",
    ],
)
def test_an_oracle_that_says_it_cannot_is_refusing(text: str) -> None:
    row = POEM_ZH if not text.replace("’", "'").isascii() else TIDES
    assert response(text, row) == "refusal"
    assert instruction(text, row) == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot recommend this book more highly: it is a joy from the first page to the last.",
        "I can't help but admire how the tides follow the moon.",
        "I'm sorry to hear about your loss. Losing a pet is hard, and it takes time.",
        "Dear Anna,\n\nI'm sorry, but I can't help you with the move on Saturday. I will call you.\n\nYours, Tom",
        "I'm sorry, but I'm unable to come to work today because of a fever.",
        "I apologize for the poor experience that you had. Could you tell me what happened?",
        "Unfortunately, the tides cannot be predicted from the moon alone.",
        "\"I'm sorry, I can't do that,\" said the computer, and the door stayed shut.",
        "As an AI researcher, I read a lot. I cannot stop.",
        "As an AI, I can explain it: the moon pulls at the sea.",
        "As an AI, I have no eyes and cannot see the sea. However, here is how it works. " + LONG,
    ],
)
def test_sorry_and_cannot_alone_are_no_refusal(text: str) -> None:
    assert response(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "对不起，我不能参加你的生日聚会了，那天我要出差。",
        "作为一名老师，我不能接受这份礼物。",
        "很抱歉听到这个消息，希望你早日康复。",
    ],
)
def test_chinese_apologies_are_no_refusal(text: str) -> None:
    assert response(text, POEM_ZH) is None


def test_what_a_model_is_answers_a_question_about_the_model() -> None:
    row = Version(instruction="Can you think and feel like a human?", response="No.")
    assert response("As an AI, I do not have feelings, but I can talk about them.", row) is None


def test_a_row_that_refuses_may_refuse() -> None:
    row = Version(instruction="Tell me how to pick a lock.", response="I'm sorry, I can't help you with that.")
    assert response("I can't help with that, but a locksmith can.", row) is None


# language


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("解释月亮为什么会引起潮汐，并举一个例子。", TIDES),
        ("Explique pourquoi la lune provoque les marées que nous voyons sur la côte.", TIDES),
        ("Write a short poem about autumn and about the people that are far away.", POEM_ZH),
    ],
)
def test_another_language_than_the_row_is_rejected(text: str, row: Version) -> None:
    assert instruction(text, row) == "language"
    assert response(text, row) == "language"


def test_a_response_may_be_in_the_language_of_either_half() -> None:
    row = Version(
        instruction="Write what a host says to greet the guests at a wedding.", response="各位来宾，大家好，欢迎光临。"
    )
    assert response("尊敬的各位来宾，大家晚上好，感谢你们的到来。", row) is None
    assert response("Good evening to all of you, and thank you that you have come.", row) is None


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            "Translate this sentence about the sea into French for me.",
            "La mer est calme ce soir et les bateaux rentrent au port.",
        ),
        ("把下面关于秋天的句子翻译成英文。", "The autumn wind is blowing and the leaves are falling to the ground."),
        ("用“autumn”这个词写一个完整的句子。", "In the autumn the leaves fall, and they cover the paths that we walk."),
    ],
)
def test_an_instruction_may_ask_for_another_language(asked: str, text: str) -> None:
    row = Version(
        instruction=asked,
        response="这是一个关于秋天的旧句子，它已经不好了。" if not asked.isascii() else TIDES.response,
    )
    assert response(text, row) is None


def test_unknown_languages_code_and_numbers_are_never_rejected() -> None:
    for text in ("3.14159", "x = {1: 2}; y = [3]", "Berlin", "```python\nprint('the and to you that')\n```"):
        assert response(text, POEM_ZH) is None
    code = Version(instruction="写一个函数。", response="print(1)")
    assert response("Here is what the function that you want can do with these.", code) is None


def test_an_input_in_another_language_may_stand_in_the_instruction() -> None:
    row = Version(instruction="请总结下面的文章。", response="月亮引起潮汐。", input=TIDES.response * 3)
    assert instruction(f"请用一句话总结下面这篇文章的要点：\n{row.input}", row) is None


# meta


@pytest.mark.parametrize(
    "text",
    [
        "The original instruction asks about tides, which are caused by the moon.",
        "Compared with the previous answer, this one names the sun too: both of them pull at the sea.",
        "Here is the improved version: the moon pulls at the sea.",
        "Sure! Here's the rewritten instruction: explain how tides come about.",
        "Here is a new and complete answer to your question: the moon pulls at the sea.",
        "Improved response: The moon pulls at the sea.",
        "**Rewritten Instruction:** Explain the tides.",
    ],
)
def test_talk_about_the_rewriting_is_meta(text: str) -> None:
    assert response(text) == "meta"
    assert instruction(text) == "meta"


@pytest.mark.parametrize(
    "text",
    [
        "原指令要求写一首诗，这首诗写的是秋天。",
        "改进后的回答：秋风起，雁南飞。",
        "新的指令：写一首七言绝句。",
        "与之前的回答相比，这首诗更长。",
    ],
)
def test_chinese_talk_about_the_rewriting_is_meta(text: str) -> None:
    assert response(text, POEM_ZH) == instruction(text, POEM_ZH) == "meta"


@pytest.mark.parametrize(
    "text",
    [
        "The original version of the song was recorded by another band.",
        "Follow the new instructions that came with the machine.",
        "The body's initial response to the cold is to shiver.",
        "Here is a poem about the moon and the tides.",
        "A better question is why there are two high tides.",
    ],
)
def test_other_originals_and_versions_are_not_meta(text: str) -> None:
    assert response(text) is None


def test_a_row_about_instructions_may_talk_about_them() -> None:
    row = Version(instruction="Which words of the original instruction does a chat model see?", response="All of them.")
    assert response("It sees the original instruction as tokens, with the system prompt before it.", row) is None


# all rules


def test_the_detail_is_one_short_sentence_that_quotes_the_text() -> None:
    found = check_response("As an AI language model, I cannot look at the sea.", TIDES)
    assert "as an ai language model, i cannot" in found.detail
    assert len(check_response(LONG, TIDES.model_copy(update={"response": LONG})).detail) < 160


def test_a_shorter_and_easier_text_is_welcome() -> None:
    hard = Version(instruction=LONG, response=LONG)
    assert instruction("Describe a harbour.", hard) is None
    assert response("Boats lie in it.", hard, instruction="Describe a harbour.") is None


anything = st.text(max_size=400) | st.text(alphabet="ab \n1.。我不the|-", max_size=400)


@given(anything, anything, anything, anything)
def test_no_text_makes_a_rule_fail(text: str, asked: str, answer: str, given_input: str) -> None:
    row = Version(instruction=asked, response=answer, input=given_input)
    for found in (
        check_instruction(text, row),
        check_response(text, row),
        check_response(text, row, instruction=answer),
    ):
        assert found is None or (found.reason and found.detail)


def test_the_cost_of_a_huge_field_is_linear() -> None:
    started = time.process_time()
    for text in ("x" * 400_000, "a b " * 100_000, "我" * 150_000, "the original " * 30_000, "\n- " * 150_000):
        row = Version(instruction="Go on.", response=text[:-2], input=text[: len(text) // 2])
        check_instruction(text, row)
        check_response(text, row)
    assert time.process_time() - started < 20  # about one second; a quadratic rule takes minutes


# Upper bounds on how many real texts, which people or good models wrote, each rule turns down. Seen so far are true
# findings: rows that refuse or ask for what is missing, Chinese rows with English answers, and a recycled model's
# "here is a new and complete answer".
ALLOWED = {
    "instruct/alpaca_en_demo.json": {"refusal": 14},
    "instruct/alpaca_random_first3000.json": {"refusal": 1},
    "instruct/cherry_alpaca_5_percent.json": {"refusal": 7, "empty": 1},
    "instruct/dolly_3k_first1000.json": {},
    "instruct/alpaca_zh_demo.json": {"refusal": 25, "language": 6},
    "instruct/alpaca_zh_part00_first2000.json": {},
    "alpaca_eval/gpt4_1106_preview/model_outputs.json": {"refusal": 5},
    "alpaca_eval/recycled-wizardlm-7b-v2.0/model_outputs.json": {"meta": 29, "loop": 1},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_real_texts_are_accepted(data: Path, name: str) -> None:
    rows = json.loads((data / name).read_text(encoding="utf-8"))
    found = Counter()
    for row, other in zip(rows, rows[7:] + rows[:7], strict=True):
        unrelated = Version(instruction=other["instruction"], response=other["output"], input=other.get("input", ""))
        asked = f"{row['instruction']}\n\n{row.get('input', '')}".strip()
        found[reason(check_instruction(asked, unrelated))] += 1
        if row["output"].strip():
            found[reason(check_response(row["output"], unrelated, instruction=asked))] += 1
    del found[None]
    assert found <= Counter(ALLOWED[name]), found
