"""Questions answered from documents, with citations: by a chat model, or in the documents' own words."""

from pgcorpus.services.answering.answerer import Answerer, AsyncAnswerer
from pgcorpus.services.answering.answers import UNKNOWN, Answer, ChatUsage, Citation, Kind, Timings
from pgcorpus.services.answering.chat import AsyncChat, Chat, Piece, Reply
from pgcorpus.services.answering.openai import AsyncOpenAIChat, OpenAIChat
from pgcorpus.services.answering.passages import estimate_tokens
from pgcorpus.services.answering.prompting import GROUNDING, Message, with_previous_question
from pgcorpus.services.answering.streams import AnswerStream, AsyncAnswerStream
from pgcorpus.services.answering.thresholds import default_min_score

__all__ = [
    "GROUNDING",
    "UNKNOWN",
    "Answer",
    "AnswerStream",
    "Answerer",
    "AsyncAnswerStream",
    "AsyncAnswerer",
    "AsyncChat",
    "AsyncOpenAIChat",
    "Chat",
    "ChatUsage",
    "Citation",
    "Kind",
    "Message",
    "OpenAIChat",
    "Piece",
    "Reply",
    "Timings",
    "default_min_score",
    "estimate_tokens",
    "with_previous_question",
]
