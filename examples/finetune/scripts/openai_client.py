"""Use a running `finetune serve` through the official Python client of OpenAI's interface.

    pip install openai
    finetune serve RUN --port 8080 &
    python openai_client.py --url http://127.0.0.1:8080/v1

Checks models, whole and streamed answers, seeds, stop texts, usage, errors, and several clients at once, and prints what
it found. It ends with an error if anything is not as the client's types say. With --embeddings the server has an encoder
of texts, and their vectors are checked.
"""

import argparse
import asyncio
import os

import openai

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="address of the server, with /v1")
parser.add_argument("--token-env", help="environment variable with the server's token")
parser.add_argument("--embeddings", action="store_true", help="the server has an encoder of texts")
args = parser.parse_args()

token = os.environ[args.token_env] if args.token_env else "none"
client = openai.OpenAI(base_url=args.url, api_key=token, max_retries=3)


def refused(kind, **request):
    try:
        client.chat.completions.create(**request)
    except kind as error:
        assert isinstance(error.body["message"], str), error.body
        return error
    raise AssertionError(f"not refused: {request}")


models = [model.id for model in client.models.list()]
assert models and client.models.retrieve(models[0]).id == models[0]
print("models:", ", ".join(models))
if args.embeddings:
    texts = ["w5 w17 w30", "w9", "w12 w13 w14 w15"]
    together = client.embeddings.create(model=models[0], input=texts)
    assert [entry.index for entry in together.data] == [0, 1, 2] and together.usage.total_tokens > 0
    for text, entry in zip(texts, together.data):
        alone = client.embeddings.create(model=models[0], input=text, encoding_format="float").data[0].embedding
        assert len(alone) == len(entry.embedding)
        assert max(abs(a - b) for a, b in zip(alone, entry.embedding)) < 1e-5
    print(f"vectors of {len(alone)} numbers, the same together and alone")
    raise SystemExit
question = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": [{"type": "text", "text": "is it"}, {"type": "text", "text": " one?"}]},
]

for model in models:
    common = dict(model=model, messages=question, max_tokens=12, seed=3, temperature=0.8)
    whole = client.chat.completions.create(**common)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length"), whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    text, reason, usage = "", None, None
    for part in client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True}):
        usage = part.usage or usage
        for choice_part in part.choices:
            assert reason is None, "nothing comes after the end"
            text += choice_part.delta.content or ""
            reason = choice_part.finish_reason
    assert text == choice.message.content, (text, choice.message.content)
    assert reason == choice.finish_reason and usage == whole.usage, (reason, usage, whole)
    with client.chat.completions.stream(**common) as stream:
        try:
            final = stream.get_final_completion()
        except openai.LengthFinishReasonError as error:
            final = error.completion
    assert final.choices[0].message.content == text
    print(f"{model}: {text!r}, {usage.completion_tokens} tokens, finished: {reason}")

    plain = dict(model=model, prompt="Once upon", max_tokens=8, temperature=0)
    goes_on = client.completions.create(**plain).choices[0]
    parts = client.completions.create(**plain, stream=True)
    assert "".join(choice.text for part in parts for choice in part.choices) == goes_on.text
    if len(goes_on.text) > 1:
        stop = goes_on.text[len(goes_on.text) // 2]
        stopped = client.completions.create(**plain, stop=[stop]).choices[0]
        assert stopped.finish_reason == "stop" and stopped.text == goes_on.text.split(stop)[0], stopped

one = dict(model=models[0], messages=question)
assert client.chat.completions.create(**one, max_completion_tokens=1).choices[0].finish_reason in ("length", "stop")
assert refused(openai.BadRequestError, **one, temperature=-1).param == "temperature"
assert refused(openai.BadRequestError, **one, n=2).param == "n"
assert refused(openai.BadRequestError, model=models[0], messages=[]).param == "messages"
assert refused(openai.NotFoundError, model="nobody", messages=question).code == "model_not_found"
words = [{"role": "user", "content": "word " * 150_000}]
assert refused(openai.BadRequestError, model=models[0], messages=words).code == "context_length_exceeded"
if args.token_env:
    try:
        openai.OpenAI(base_url=args.url, api_key="wrong").models.list()
        raise AssertionError("a wrong token was taken")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
print("errors have the client's types")


async def many():
    several = openai.AsyncOpenAI(base_url=args.url, api_key=token, max_retries=8)

    async def one_answer(index):
        reply = await several.chat.completions.create(
            model=models[index % len(models)], messages=question, max_tokens=6, seed=index % 4
        )
        return index % len(models), index % 4, reply.choices[0].message.content

    found = await asyncio.gather(*(one_answer(index) for index in range(24)))
    assert len(set(found)) == len({(model, seed) for model, seed, _ in found}), "the seed decides the answer"
    # A client that leaves in the middle.
    stream = await several.chat.completions.create(**one, max_tokens=50, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await several.close()


asyncio.run(many())
print("24 answers at once, the same for the same seed")
