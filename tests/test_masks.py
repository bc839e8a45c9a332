"""Which tokens carry loss: on a real chat template, on Llama 3.1's, and on templates of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.errors import SettingsError
from reflectune.lessons import Lesson, Span
from reflectune.recipe.train import LossOn
from reflectune.records import Example, Failure
from reflectune.student.chat_text import ChatText, chat_text
from reflectune.student.weights import find_student
from reflectune.training.masks import NO_LOSS, Masked, Masker
from reflectune.training.rows import Conversation
from test_tokens import spelling

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRACE = (
    "<thinking>\nTwo and two are four.\nFour and four are nine.\n"
    "<reflection>\nThat is wrong: four and four are eight.\n</reflection>\nSo it is eight.\n</thinking>\n"
    "<output>\n8\n</output>"
)
WRONG = "Four and four are nine."
NAMING = "Think in <thinking>, mend in <reflection> ... </reflection>, answer in <output>."
LLAMA_TOKENS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def with_tokens(*special: str, chat: str | None = None) -> Any:
    tokenizer = spelling(chat=chat)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


@pytest.fixture(scope="module")
def chatml() -> Any:
    return with_tokens("<|im_start|>", "<|im_end|>", chat=CHATML)


@pytest.fixture(scope="module")
def llama() -> Any:
    """A tokenizer with the special tokens and the stock template of Llama 3.1, as TRL ships it."""
    trl = pytest.importorskip("trl")
    stock = Path(trl.__file__).with_name("chat_templates") / "llama3_1.jinja"
    tokenizer = with_tokens(*LLAMA_TOKENS, chat=stock.read_text(encoding="utf-8"))
    tokenizer.bos_token = "<|begin_of_text|>"
    return tokenizer


def turns(*said: str, system: str = "") -> tuple[dict[str, str], ...]:
    """Turns of a user and an assistant, one after the other."""
    first = ({"role": "system", "content": system},) if system else ()
    roles = ("user", "assistant")
    return first + tuple({"role": roles[number % 2], "content": text} for number, text in enumerate(said))


def masked(
    tokenizer: Any,
    said: tuple[dict[str, str], ...],
    loss_on: LossOn = "whole",
    *,
    template: str | None = None,
    mistakes: tuple[Span, ...] | None = None,
    most: int = 4000,
    drops: bool = False,
) -> Masked | Failure:
    masker = Masker(tokenizer, chat_text(template, tokenizer), most, drops_overlong=drops)
    lesson = Lesson(Example("row", "", said[-1]["content"]), 1, mistakes)
    (found,) = masker.read([Conversation("row", said, lesson.silent(loss_on))])
    return found


def learnt(tokenizer: Any, found: Masked | Failure) -> list[str]:
    """The stretches of text that carry loss."""
    assert isinstance(found, Masked), found
    stretches: list[list[int]] = [[]]
    for token, trains in zip(found.tokens, found.trains, strict=True):
        if trains:
            stretches[-1].append(token)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(some) for some in stretches if some]


def marked(text: str, part: str) -> tuple[Span, ...]:
    begin = text.index(part)
    return ((begin, begin + len(part)),)


def test_only_what_the_assistant_says_carries_loss_with_the_token_that_ends_it(chatml: Any) -> None:
    found = masked(chatml, turns("Hello?", "Good day.", "And you?", "Fine.", system="Be kind."))
    assert learnt(chatml, found) == ["Good day.<|im_end|>", "Fine.<|im_end|>"]
    assert chatml.decode(list(found.tokens)) == chatml.apply_chat_template(
        list(turns("Hello?", "Good day.", "And you?", "Fine.", system="Be kind.")), tokenize=False
    )


def test_labels_are_the_tokens_that_carry_loss(chatml: Any) -> None:
    found = masked(chatml, turns("Hello?", "Good day."))
    assert isinstance(found, Masked)
    kept = [label for label in found.labels if label != NO_LOSS]
    assert chatml.decode(kept) == "Good day.<|im_end|>"
    assert len(found.labels) == len(found.tokens)


@pytest.mark.parametrize("echo", ["Say it: Good day.", "<|im_start|>assistant\nGood day.<|im_end|>", "Good day."])
def test_an_answer_that_is_named_before_is_found_where_it_is_given(chatml: Any, echo: str) -> None:
    found = masked(chatml, turns(echo, "Good day.", system="Good day."))
    assert learnt(chatml, found) == ["Good day.<|im_end|>"]
    assert isinstance(found, Masked)
    assert found.trains[-2]  # before the line end that the template writes


@pytest.mark.parametrize("system", ["", NAMING, TRACE])
def test_a_mistake_carries_no_loss_whatever_the_system_prompt_names(chatml: Any, system: str) -> None:
    said = turns("Four and four?", TRACE, system=system)
    found = masked(chatml, said, "mistake-masked", mistakes=marked(TRACE, WRONG))
    before, after = TRACE.split(WRONG)
    assert learnt(chatml, found) == [before, after + "<|im_end|>"]


@pytest.mark.parametrize("system", ["", NAMING, TRACE])
def test_loss_after_the_first_reflection_only(chatml: Any, system: str) -> None:
    found = masked(chatml, turns("Four and four?", TRACE, system=system), "after-reflection")
    assert learnt(chatml, found) == [TRACE[TRACE.index("That is wrong") :] + "<|im_end|>"]


def test_without_marks_nothing_that_is_thought_before_the_first_reflection_carries_loss(chatml: Any) -> None:
    found = masked(chatml, turns("Four and four?", TRACE, system=NAMING), "mistake-masked")
    begins, ends = TRACE.index("Two and two"), TRACE.index("<reflection>")
    stretches = learnt(chatml, found)
    assert "".join(stretches) == TRACE[:begins] + TRACE[ends:] + "<|im_end|>"


@pytest.mark.parametrize("loss_on", ["after-reflection", "mistake-masked"])
def test_an_answer_without_a_reflection_carries_loss_as_a_whole(chatml: Any, loss_on: LossOn) -> None:
    clean = "<thinking>\nTwo.\n</thinking>\n<output>\n2\n</output>"
    assert learnt(chatml, masked(chatml, turns("One and one?", clean), loss_on)) == [clean + "<|im_end|>"]


def test_the_stock_template_of_llama_strips_what_it_is_given(llama: Any) -> None:
    said = turns("Four and four?", f"\n {TRACE}\n", system=NAMING)
    found = masked(llama, said, "mistake-masked", mistakes=marked(f"\n {TRACE}\n", WRONG))
    before, after = TRACE.split(WRONG)
    assert learnt(llama, found) == [before, after + "<|eot_id|>"]


@pytest.mark.parametrize(
    "said",
    [
        turns("Hello?", "Good day."),
        turns(" Hello? ", "Good day.\n", "And you?", " Fine.", system=" Be kind. "),
        turns("Héllo 你好", "{{ bos_token }} {% raw %}"),
    ],
)
@pytest.mark.parametrize("asking", [False, True])
def test_our_llama_template_writes_what_the_stock_one_does(llama: Any, said: Any, asking: bool) -> None:
    ours = chat_text("llama-3.1", llama)
    stock = llama.apply_chat_template(list(said), tokenize=False, add_generation_prompt=asking)
    options = {"tokenize": False, "add_generation_prompt": asking, "chat_template": ours.text}
    assert llama.apply_chat_template(list(said), **options) == stock


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        ("alpaca", "### Response:", "Blue.</s>"),
        ("wizardlm", "### Response:", "Blue.</s>"),
        ("vicuna", "ASSISTANT:", "Blue.</s>"),
    ],
)
def test_templates_of_text_end_an_answer(template: str, prompt: str, answer: str) -> None:
    tokenizer = spelling(begins=True)
    found = masked(tokenizer, turns("Which colour?", "Blue."), template=template)
    assert isinstance(found, Masked)
    text = tokenizer.decode(list(found.tokens))
    assert text.startswith("<s>")
    assert text.count("<s>") == 1
    assert learnt(tokenizer, found) == [answer]
    assert text.split(answer)[0].rstrip().endswith(prompt)


def test_an_input_stands_apart_where_the_template_has_a_place_for_it() -> None:
    tokenizer = spelling()
    said = ({"role": "user", "content": "Sort.", "input": "b a"}, {"role": "assistant", "content": "a b"})
    found = masked(tokenizer, said, template="alpaca")
    assert isinstance(found, Masked)
    assert "### Instruction:\nSort.\n\n### Input:\nb a\n\n### Response:a b</s>" in tokenizer.decode(list(found.tokens))


def test_vicuna_says_its_preamble_once_and_takes_a_system_prompt_for_it() -> None:
    tokenizer = spelling()
    said = turns("A?", "a.", "B?", "b.", system="Be brief.")
    found = masked(tokenizer, said, template="vicuna")
    assert isinstance(found, Masked)
    text = tokenizer.decode(list(found.tokens))
    assert text == "Be brief. USER: A? ASSISTANT: a.</s>USER: B? ASSISTANT: b.</s>"
    assert learnt(tokenizer, found) == ["a.</s>", "b.</s>"]


@pytest.mark.parametrize("said", [turns("A?", "a.", "B?", "b."), turns("A?", "a.", system="Be brief.")])
def test_a_template_without_a_place_for_turns_refuses_the_row(said: Any) -> None:
    found = masked(spelling(), said, template="alpaca")
    assert isinstance(found, Failure)
    assert (found.id, found.reason) == ("row", "template")
    assert "one instruction and its response" in found.detail


def test_a_template_that_hides_earlier_thoughts_learns_from_the_last_answer(chatml: Any) -> None:
    hiding = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('</think>')[-1] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    masker = Masker(chatml, ChatText("hiding", hiding), 4000)
    said = turns("A?", "<think>hm</think>a.", "B?", "<think>so</think>b.")
    (found,) = masker.read([Conversation("row", said)])
    assert learnt(chatml, found) == ["<think>so</think>b.<|im_end|>"]
    assert isinstance(found, Masked)
    assert found.hidden == 1


def test_an_answer_is_not_found_in_what_the_template_writes_before_it(chatml: Any) -> None:
    thinking = CHATML.replace("{{ m.content }}", "{{ '<think></think>' if m.role == 'assistant' }}{{ m.content }}")
    (found,) = Masker(chatml, ChatText("thinking", thinking), 4000).read([Conversation("row", turns("A?", "think"))])
    assert learnt(chatml, found) == ["think<|im_end|>"]


def test_a_template_that_changes_the_answer_refuses_the_row(chatml: Any) -> None:
    shouting = CHATML.replace("{{ m.content }}", "{{ m.content | upper }}")
    with pytest.raises(SettingsError, match="cannot be learnt from"):
        Masker(chatml, ChatText("shouting", shouting), 4000)


def test_a_template_that_never_ends_an_answer_is_refused(chatml: Any) -> None:
    endless = CHATML.replace("<|im_end|>", "")
    with pytest.raises(SettingsError, match="never learn to stop"):
        Masker(chatml, ChatText("endless", endless), 4000)


def test_a_long_row_is_cut_or_refused(chatml: Any) -> None:
    said = turns("Hello?", "Good day. " * 20)
    cut = masked(chatml, said, most=80)
    assert isinstance(cut, Masked)
    assert (len(cut.tokens), cut.cut) == (80, True)
    refused = masked(chatml, said, most=80, drops=True)
    assert isinstance(refused, Failure)
    assert refused.reason == "too-long"
    assert "the most is 80" in refused.detail


def test_a_row_without_a_trainable_token_is_refused_by_its_id(chatml: Any) -> None:
    beyond = masked(chatml, turns("Hello? " * 30, "Good day."), most=100)
    assert isinstance(beyond, Failure)
    assert (beyond.id, beyond.reason) == ("row", "no-trainable-token")
    assert "takes all of the 100 tokens" in beyond.detail
    answer = "nothing right"
    silent = masked(chatml, turns("Hello?", answer), "mistake-masked", mistakes=((0, len(answer)),))
    assert isinstance(silent, Masked)  # the student may still learn to stop
    assert learnt(chatml, silent) == ["<|im_end|>"]


def test_rows_come_in_order_with_the_refused_in_their_places(chatml: Any) -> None:
    masker = Masker(chatml, chat_text(None, chatml), 60)
    many = [Conversation(str(number), turns("x" * (number % 80), "y")) for number in range(600)]
    found = list(masker.read(many))
    assert [one.id for one in found] == [one.id for one in many]
    assert {type(one) for one in found} == {Masked, Failure}


def test_no_chat_template_is_an_error_that_names_others() -> None:
    with pytest.raises(SettingsError, match="has no chat template") as caught:
        chat_text(None, spelling())
    assert "--template: llama-3.1, alpaca, vicuna" in caught.value.mend


def test_the_llama_template_needs_its_tokens(chatml: Any) -> None:
    with pytest.raises(SettingsError, match=r"no token <\|start_header_id\|>"):
        chat_text("llama-3.1", chatml)


@given(
    answer=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(str.strip),
    question=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
)
def test_whatever_is_said_the_answer_and_nothing_else_carries_loss(answer: str, question: str) -> None:
    tokenizer = with_tokens("<|im_start|>", "<|im_end|>", chat=CHATML)
    found = masked(tokenizer, turns(question, answer))
    assert isinstance(found, Masked)
    kept = [token for token, trains in zip(found.tokens, found.trains, strict=True) if trains]
    assert tokenizer.decode(kept) == answer.strip() + "<|im_end|>"


@pytest.mark.model
@pytest.mark.parametrize("system", ["", NAMING])
def test_the_mask_on_the_real_tokenizer_and_template(system: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_student("local").folder)
    before, after = TRACE.split(WRONG)
    found = masked(
        tokenizer,
        turns("Four and four?", TRACE, system=system),
        "mistake-masked",
        mistakes=marked(TRACE, WRONG),
    )
    assert "".join(learnt(tokenizer, found)).replace("\n", "") == (before + after + "<|im_end|>").replace("\n", "")
    silent = _silent(tokenizer, found)
    assert (
        WRONG.split(maxsplit=1)[0] not in "".join(learnt(tokenizer, found)).split("<reflection>")[0].split("four.")[1]
    )
    assert any(WRONG in text for text in silent)


def _silent(tokenizer: Any, found: Masked | Failure) -> Sequence[str]:
    assert isinstance(found, Masked)
    flipped = Masked(found.id, found.tokens, bytes(not trains for trains in found.trains))
    return learnt(tokenizer, flipped)
