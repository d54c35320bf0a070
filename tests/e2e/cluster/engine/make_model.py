"""Make a random Llama with a tokenizer trained here and a chat template: `make_model.py FOLDER LAYERS HIDDEN INNER HEADS KV_HEADS`.

Run with the engine environment's Python; nothing is fetched. The model speaks gibberish, at the cost and with the API of a real one.
"""

import sys
from pathlib import Path

# These are in the engine's environment, not in the project's.
import torch  # type: ignore[import-not-found]
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # type: ignore[import-not-found]
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # type: ignore[import-not-found]

SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer of 512 tokens: any text is encodable, and a word is a few tokens as usual."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    corpus = [f"the quick brown fox {i} jumps over the lazy dog; scale replicas to {i} and wait." for i in range(200)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bare.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=512, special_tokens=SPECIAL, initial_alphabet=alphabet))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    wrapped.chat_template = CHAT
    return wrapped


def make(folder: Path, *, layers: int, hidden: int, inner: int, heads: int, kv_heads: int) -> None:
    """Write tokenizer, configuration and the same random weights every time."""
    words = tokenizer()
    words.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2048,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    sizes = [int(size) for size in sys.argv[2:]]
    make(Path(sys.argv[1]), **dict(zip(("layers", "hidden", "inner", "heads", "kv_heads"), sizes, strict=True)))
