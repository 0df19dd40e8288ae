"""The demonstration model: text model, vision tower, multi-token prediction head, initial values and loss."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.batch import TextBatch
from training.decoder import DecoderLayer
from training.layers import RMSNorm, TextShape, Weight, linear, mrope
from training.layout import ROWS, Layout
from training.mixers import GatedDeltaNet
from training.sight import Questions
from training.vision import VisionShape, VisionTower

MTP_LOSS_WEIGHT = 0.3
BALANCE_LOSS_WEIGHT = 0.01
SIGHT_LOSS_WEIGHT = 1.0


class Loss(NamedTuple):
    """The sum to minimise and its parts: cross-entropies of the next token and of the drafted ones, load balance, what
    the patches show; then the share of tokens right, next and drafted."""

    total: Tensor
    next_token: Tensor
    drafts: Tensor
    balance: Tensor
    sight: Tensor
    accuracy: Tensor
    draft_accuracy: Tensor


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
        self, embedding: Tensor, hidden: Tensor, positions: Tensor, layout: Layout, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Embedding [rows, hidden] and position [rows, 3] of token t + 1, final hidden of token t → hidden, balance."""
        layer = self.layers[0]
        assert isinstance(layer, DecoderLayer)
        cos, sin = mrope(positions.t(), layer.mlp.shape)
        joined = torch.cat((self.pre_fc_norm_embedding(embedding), self.pre_fc_norm_hidden(hidden)), dim=-1)
        x, balance = layer(linear(joined.to(dtype), self.fc.weight).float(), layout, cos, sin, dtype)
        return self.norm(x).to(dtype), balance


class DemoModel(nn.Module):
    """`words`: the tokens of each of `training.sight.WORDS`."""

    def __init__(
        self, text: TextShape, vision: VisionShape, words: list[list[int]], compute_dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.words = words
        self.shape = text
        self.compute_dtype = compute_dtype
        self.model = Body(text, vision)
        self.mtp = MultiTokenHead(text)
        self.lm_head = Weight(text.vocab_size, text.hidden_size)
        self.auxiliary = Questions(vision.hidden_size, vision.out_hidden_size)

    def embed(self, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """Token embeddings with the pictures' in place, float32 [rows, hidden], and the loss of sight."""
        table = self.model.language_model.embed_tokens.weight
        embedded = functional.embedding(batch.tokens, table)
        if not batch.media:
            return embedded, embedded.new_zeros(())
        words = torch.stack([table.detach()[ids].mean(0) for ids in self.words])
        tokens, sight = [], []
        for group in batch.media:
            merged, seen = self.model.visual(group.pixels, group.height, group.width, self.compute_dtype)
            tokens.append(merged.flatten(0, 1))
            sight.append(self.auxiliary(seen, merged, words, group.sight) * group.pixels.shape[0])
        pictures = torch.cat(tokens).float()[batch.media_rows]
        count = sum(group.pixels.shape[0] for group in batch.media)
        return embedded.masked_scatter(batch.pads.unsqueeze(-1), pictures), torch.stack(sight).sum() / count

    def hidden(self, embedded: Tensor, batch: TextBatch) -> tuple[Tensor, Tensor]:
        """Final hidden state [rows, hidden] (after the norm, in the compute dtype) and the mean load-balancing loss."""
        language = self.model.language_model
        cos, sin = mrope(batch.positions.t(), self.shape)
        x, balances = embedded, []
        for layer in language.layers:
            x, balance = layer(x, batch.layout, cos, sin, self.compute_dtype)
            balances.append(balance)
        return language.norm(x).to(self.compute_dtype), torch.stack(balances).mean()

    def logits(self, batch: TextBatch) -> Tensor:
        """float32 [rows, vocab]."""
        hidden, _ = self.hidden(self.embed(batch)[0], batch)
        return linear(hidden, self.lm_head.weight).float()

    def predict(self, hidden: Tensor, batch: TextBatch, ahead: int) -> tuple[Tensor, Tensor]:
        """Cross-entropy and share right of the tokens `ahead` places after each hidden state.

        All tokens up to the one predicted have to be the model's own: only then is a draft ever made there. (A sequence
        begins with a prompt, so that none of them is another sequence's.)
        """
        wanted = batch.trained.roll(-1)
        for place in range(2, ahead + 1):
            wanted = wanted & batch.trained.roll(-place)
        targets = batch.tokens.roll(-ahead)[wanted]
        count = len(targets)
        if not count:
            return hidden.sum() * 0.0, hidden.new_ones((), dtype=torch.float32)
        rows = functional.pad(hidden[wanted], (0, 0, 0, -count % ROWS))
        logits = linear(rows, self.lm_head.weight)[:count].float()
        return functional.cross_entropy(logits, targets), (logits.argmax(-1) == targets).float().mean().detach()

    def loss(self, batch: TextBatch, drafts: int) -> Loss:
        """`drafts`: how many tokens the multi-token head writes on from its own hidden states (0: leave it out)."""
        embedded, sight = self.embed(batch)
        hidden, balance = self.hidden(embedded, batch)
        next_token, accuracy = self.predict(hidden, batch, 1)
        total = next_token + BALANCE_LOSS_WEIGHT * balance + SIGHT_LOSS_WEIGHT * sight
        losses, accuracies = [], []
        ahead = hidden
        for draft in range(1, drafts + 1):
            # What a sequence's last tokens get is the next one's: they predict nothing, and nothing looks at them.
            following, positions = embedded.roll(-draft, 0), batch.positions.roll(-draft, 0)
            ahead, draft_balance = self.mtp(following, ahead, positions, batch.layout, self.compute_dtype)
            loss, right = self.predict(ahead, batch, draft + 1)
            losses.append(loss)
            accuracies.append(right)
            total = total + (MTP_LOSS_WEIGHT * loss + BALANCE_LOSS_WEIGHT * draft_balance) / drafts
        nothing = total.new_full((), math.nan)
        return Loss(
            total,
            next_token.detach(),
            torch.stack(losses).mean().detach() if losses else nothing,
            balance.detach(),
            sight.detach(),
            accuracy,
            torch.stack(accuracies).mean() if accuracies else nothing,
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
            elif name.startswith("auxiliary"):
                parameter.zero_()
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
