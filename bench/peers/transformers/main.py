"""The contender transformers, on PyTorch: requests and answers as lines of JSON, as ../serve.mjs speaks them."""

import json
import sys
import time

import torch
import transformers


def milliseconds():
    return 1000 * time.perf_counter()


class Session:
    """An open model; answers are greedy, and nothing that was computed before is reused."""

    def __init__(self, options):
        torch.set_num_threads(options["threads"])
        if options["dtype"] != "bf16":
            raise ValueError(f"{options['dtype']} weights are not measured with transformers")
        with open(f"{options['model']}/config.json", encoding="utf8") as file:
            architecture = json.load(file)["architectures"][0]
        # By the architecture's class: the folder has no model_type for AutoModelForCausalLM to go by.
        model_class = getattr(transformers, architecture)
        self.model = model_class.from_pretrained(
            options["model"], dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
        self.facts = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "attention": "sdpa",
            "kv": "bf16",
        }

    def step(self, tokens, cache):
        """The logits after the last of `tokens`, and the cache with them."""
        output = self.model(
            input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return output.logits[0, -1], output.past_key_values

    @torch.inference_mode()
    def take_tokens(self, prompt, count):
        """When each of `count` tokens was there, ms."""
        times = []
        tokens, cache = list(prompt), None
        while len(times) < count:
            logits, cache = self.step(tokens, cache)
            tokens = [int(logits.argmax())]
            times.append(milliseconds())
        return times

    @torch.inference_mode()
    def first(self, prompt):
        logits, _ = self.step(list(prompt), None)
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        token = int(logprobs.argmax())
        return {"token": token, "logprob": float(logprobs[token])}


def measure(session, request):
    if request["do"] == "first":
        return {"tokens": [session.first(prompt) for prompt in request["prompts"]]}
    begun = milliseconds()
    if request["do"] == "ttft":
        return {"ms": session.take_tokens(request["prompt"], 1)[0] - begun}
    if request["do"] == "decode" and len(request["prompts"]) == 1:
        return {"streams": [session.take_tokens(request["prompts"][0], request["tokens"])]}
    raise ValueError(f"{request['do']} is not measured with transformers")


def main():
    # What a library prints is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                begun = milliseconds()
                session = Session(request["options"])
                session.take_tokens([1], 1)
                answer = {"ms": milliseconds() - begun, "facts": session.facts}
            elif session is None:
                raise ValueError("no model is open")
            elif request["do"] == "close":
                session, answer = None, {}
            else:
                answer = measure(session, request)
        except Exception as error:  # whatever it is, the other side tells it
            answer = {"error": f"{type(error).__name__}: {error}"}
        # No blanks: the other side knows an answer by its first characters.
        print(json.dumps({"answer": answer}, separators=(",", ":")), file=answers, flush=True)


main()
