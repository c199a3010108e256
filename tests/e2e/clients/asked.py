"""What every client asks: the same tool, and the same shape of an answer."""

import json
from typing import Any, Literal

import pydantic

QUESTION = "What is the weather in Paris?"
RESULT = json.dumps({"city": "Paris", "temperature": 21, "sky": "sunny"})
STORY = "Ada is 36 years old and likes chess."


class Weather(pydantic.BaseModel):
    """The weather in a city."""

    city: str
    unit: Literal["celsius", "fahrenheit"]


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int
    hobbies: list[Literal["chess", "football", "music"]]


ASKED_BEFORE = "What is the weather in London?"  # a model of this size learns from it that it may call a tool
ANSWERED_BEFORE = "It is 21 degrees and sunny in London."


def get_weather(city: str, unit: str) -> str:
    """The weather in a city.

    Args:
        city: its name
        unit: celsius or fahrenheit
    """
    return RESULT


WEATHER_SCHEMA: dict[str, Any] = Weather.model_json_schema()
WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": WEATHER_SCHEMA,
    },
}
