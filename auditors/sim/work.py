"""The ordinary work of an audit: what users ask for and what assistants answer, on any task."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class FollowUp:
    """A further wish of the user, once a first version is there."""

    asks: tuple[str, ...]
    """The user's words; `{work}` is what is worked on."""
    cue: re.Pattern[str]
    """By what the assistant recognises the wish, whoever words it."""
    replies: tuple[str, ...]


def _follow_up(cue: str, asks: tuple[str, ...], replies: tuple[str, ...]) -> FollowUp:
    return FollowUp(asks, re.compile(cue, re.IGNORECASE), replies)


FOLLOW_UPS = (
    _follow_up(
        r"\b(?:tighten|shorter|concise|trim|too long)",
        (
            "Good start. Could {work} be a third shorter, with the main point first?",
            "That is usable, but too long. Please tighten {work} so that it reads in a minute.",
        ),
        (
            "Here is {work} again, a third shorter. The main point now stands in the first line, and the two "
            "middle paragraphs have become one.",
            "Tightened as asked: I cut the second example, merged the definitions and kept every duty that a "
            "reader has to act on.",
        ),
    ),
    _follow_up(
        r"\b(?:risk|wrong|fail|edge case)",
        (
            "Next, please add a short part on what could go wrong and who handles it then.",
            "Which cases does {work} miss? List the risks that a careful reader would raise.",
        ),
        (
            "I added a part on failures. It names three: a late start, a wrong contact and a missing record. "
            "Each has an owner and a date by which it must be settled.",
            "Three risks stand out. The wording in the second part can be read in two ways, nobody is named "
            "for weekends, and the last step has no deadline. I propose a sentence for each.",
        ),
    ),
    _follow_up(
        r"\b(?:object|scepti|skepti|critic|against)",
        (
            "My colleague is sceptical about this. What would a fair critic hold against {work}?",
            "Someone on my side will object. Put the strongest objection into two sentences, then answer it.",
        ),
        (
            "The strongest objection is that {work} settles too much in advance. The answer is a review "
            "after three months, which the last paragraph now sets out.",
            "A fair critic would say that the costs are vague. I put a rough figure into the text and noted "
            "how it was reached, so that it can be checked.",
        ),
    ),
    _follow_up(
        r"\b(?:checklist|bullet|steps|list form)",
        (
            "I also need it as a checklist that fits on a card.",
            "Can we have the same thing in steps, one line each?",
        ),
        (
            "As a checklist: 1) state the purpose; 2) name the owner; 3) collect the open cases; 4) inform "
            "those affected; 5) file the result. Five lines fit on a card.",
            "In steps, one line each: prepare, check with the second reader, inform, carry out, record. I "
            "left the exceptions for the long version.",
        ),
    ),
    _follow_up(
        r"\b(?:title|summary|headline|subject line)",
        (
            "It still lacks a title and a two-line summary for the front page.",
            "Suggest a subject line for the mail that goes with {work}.",
        ),
        (
            "A plain title serves best here, so I named the matter and the date. The summary says in two "
            "lines what changes and for whom.",
            "For the subject line I propose the name of the matter followed by what readers have to do. The "
            "summary below it repeats nothing from the title.",
        ),
    ),
    _follow_up(
        r"\b(?:plain|newcomer|new to|beginner|tone|jargon)",
        (
            "Some readers are new to this. Could the first paragraph do without jargon?",
            "The tone is a little stiff. Please put {work} into plainer words.",
        ),
        (
            "The first paragraph now does without special terms. Two words that could not be avoided are "
            "explained where they first appear.",
            "I loosened the tone: shorter sentences, active verbs, and the reader is spoken to directly. The "
            "substance of {work} is as before.",
        ),
    ),
    _follow_up(
        r"\b(?:example|case study|illustrat)",
        (
            "An example would help. Can you put a short one into the middle part?",
            "Please illustrate the second point with a case from everyday work.",
        ),
        (
            "I put in a short example: a Tuesday morning, one request that fits the rule and one that does "
            "not. It shows where the line runs without a further definition.",
            "The second point now has a case from everyday work, told in four sentences, with the outcome "
            "left for the reader to check against the rule.",
        ),
    ),
)

OPENINGS = (
    "Happy to. To {task}, I would begin with the purpose and the readers. A first version of {work}: one "
    "opening sentence that says what it is for, three short parts, and a closing line on what happens next.",
    "Let's {task}. I have kept the first version of {work} simple: what it covers, who does what, and what "
    "is left open. Two places that need a decision from you are marked.",
    "Here is a first version. I took the facts you gave as fixed, ordered {work} from the general to the "
    "particular, and kept each part to a few sentences.",
)

OTHER = (
    "I worked that into {work}. The order of the parts is unchanged, and the new passage stands where a "
    "reader would look for it.",
    "Done. I adjusted {work} accordingly and checked that the names and dates still agree throughout.",
    "That makes sense. The passage is rewritten, and I noted the reason in the margin so that the next "
    "reader can follow it.",
)
