"""The demonstration model: text model, vision tower, multi-token prediction head, initial values and loss."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.layers import DecoderLayer, GatedDeltaNet, RMSNorm, TextShape, Weight, linear, mrope
from training.vision import VisionShape, VisionTower

MTP_LOSS_WEIGHT = 0.3
BALANCE_LOSS_WEIGHT = 0.01


@dataclass
class Batch:
    """Sequences padded at the right (harmless to a causal model), with at most one picture size among them.

    tokens int64 [rows, length]; positions int64 [3, rows, length]; trained bool [rows, length]: the token is one the
    model has to predict; pixels float32 [pictures, patches, 1536] or None, with the patch grid's height and width.
    Picture tokens of the rows, read row by row, take the pictures' embeddings in order.
    """

    tokens: Tensor
    positions: Tensor
    trained: Tensor
    pixels: Tensor | None = None
    grid: tuple[int, int] = (0, 0)


class Loss(NamedTuple):
    """The sum to minimise, and its parts: cross-entropies of the next token and the one after, balance, accuracies."""

    total: Tensor
    next_token: Tensor
    second_token: Tensor
    balance: Tensor
    accuracy: Tensor
    second_accuracy: Tensor


class TextModel(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.embed_tokens = Weight(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(shape, i % 4 == 3) for i in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Body(nn.Module):
    def __init__(self, text: TextShape, vision: VisionShape) -> None:
        super().__init__()
        self.language_model = TextModel(text)
        self.visual = VisionTower(vision)


class MultiTokenHead(nn.Module):
    """One decoder layer that predicts the token after the next from the hidden state and the next token's embedding."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.fc = Weight(shape.hidden_size, 2 * shape.hidden_size)
        self.pre_fc_norm_embedding = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.pre_fc_norm_hidden = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.layers = nn.ModuleList([DecoderLayer(shape, full_attention=True)])
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(
        self, embedding: Tensor, hidden: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Embedding of token t + 1, final hidden of token t, both [batch, tokens, hidden] → hidden state, balance."""
        joined = torch.cat(
            (self.pre_fc_norm_embedding(embedding, dtype), self.pre_fc_norm_hidden(hidden, dtype)), dim=-1
        )
        x, balance = self.layers[0](linear(joined, self.fc.weight).float(), cos, sin, dtype)
        return self.norm(x, dtype), balance


class DemoModel(nn.Module):
    def __init__(self, text: TextShape, vision: VisionShape, image_token: int, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.shape = text
        self.image_token = image_token
        self.compute_dtype = compute_dtype
        self.model = Body(text, vision)
        self.mtp = MultiTokenHead(text)
        self.lm_head = Weight(text.vocab_size, text.hidden_size)

    def embed(self, batch: Batch) -> Tensor:
        """Token embeddings with the picture's in place, float32 [rows, length, hidden]."""
        embedded = functional.embedding(batch.tokens, self.model.language_model.embed_tokens.weight)
        if batch.pixels is None:
            return embedded
        pictures = self.model.visual(batch.pixels, *batch.grid, self.compute_dtype).float()
        return embedded.masked_scatter((batch.tokens == self.image_token).unsqueeze(-1), pictures)

    def hidden(self, embedded: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Final hidden state (after the norm, in the compute dtype) and the mean load-balancing loss."""
        language = self.model.language_model
        cos, sin = mrope(positions, self.shape)
        x, balances = embedded, []
        for layer in language.layers:
            x, balance = layer(x, cos, sin, self.compute_dtype)
            balances.append(balance)
        return language.norm(x, self.compute_dtype), torch.stack(balances).mean()

    def logits(self, batch: Batch) -> Tensor:
        """float32 [rows, length, vocab]."""
        hidden, _ = self.hidden(self.embed(batch), batch.positions)
        return linear(hidden, self.lm_head.weight).float()

    def loss(self, batch: Batch) -> Loss:
        embedded = self.embed(batch)
        hidden, balance = self.hidden(embedded, batch.positions)
        wanted = batch.trained[:, 1:]
        logits = linear(hidden[:, :-1][wanted], self.lm_head.weight).float()
        targets = batch.tokens[:, 1:][wanted]
        next_token = functional.cross_entropy(logits, targets)
        cos, sin = mrope(batch.positions[:, :, 1:], self.shape)
        ahead, mtp_balance = self.mtp(embedded[:, 1:], hidden[:, :-1], cos, sin, self.compute_dtype)
        # Both the next token and the one after it have to be the model's own: only then is a draft ever made there.
        wanted = batch.trained[:, 2:] & batch.trained[:, 1:-1]
        second_logits = linear(ahead[:, :-1][wanted], self.lm_head.weight).float()
        second_targets = batch.tokens[:, 2:][wanted]
        second_token = functional.cross_entropy(second_logits, second_targets)
        balance = (balance * len(self.model.language_model.layers) + mtp_balance) / (
            len(self.model.language_model.layers) + 1
        )
        return Loss(
            next_token + MTP_LOSS_WEIGHT * second_token + BALANCE_LOSS_WEIGHT * balance,
            next_token.detach(),
            second_token.detach(),
            balance.detach(),
            (logits.argmax(-1) == targets).float().mean(),
            (second_logits.argmax(-1) == second_targets).float().mean(),
        )


def initialize(model: DemoModel, generator: torch.Generator) -> None:
    """Fresh parameters: 1/sqrt(fan in), less for residual outputs; decay over 10 to 1000 tokens (as Mamba 2)."""
    depth_scale = 1.0 / math.sqrt(2 * model.shape.num_hidden_layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("embed_tokens.weight", "pos_embed.weight", "mlp.gate.weight")):
                parameter.normal_(0.0, 0.02, generator=generator)
            elif name.endswith("lm_head.weight"):
                parameter.normal_(0.0, 0.01, generator=generator)
            elif parameter.ndim >= 2:
                fan_in = parameter.shape[1:].numel() if parameter.ndim != 3 or "conv1d" in name else parameter.shape[-1]
                residual = name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight", "down_proj"))
                parameter.normal_(0.0, fan_in**-0.5 * (depth_scale if residual else 1.0), generator=generator)
            elif name.endswith(".bias"):
                parameter.zero_()
        for module in model.modules():
            if isinstance(module, GatedDeltaNet):
                heads = module.A_log.shape[0]
                module.A_log.copy_(torch.empty(heads).uniform_(1.0, 16.0, generator=generator).log())
                steps = torch.exp(torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1), generator=generator))
                module.dt_bias.copy_(steps + torch.log(-torch.expm1(-steps)))
                module.norm.weight.fill_(1.0)
