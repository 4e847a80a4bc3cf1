"""Detects requests that are not in English, the language of all training descriptions."""

import re
from typing import Final

_WORD = re.compile(r"[^\W\d_]+")

_FOREIGN: Final = frozenset(
    _WORD.findall(
        """
    der das dem den ein eine einen einem einer mit und auf nach von zum zur nicht beide beiden
    rechte rechten linke linken rechts vorwärts vorwaerts rückwärts gehen geht winken winkt laufen
    läuft springen tanzen heben hebt strecken arme beine schritt schritte kopf bein
    le les un une des du avec et sur dans vers droite gauche bras jambe main mains tête avant
    arrière marcher marche courir sauter lever lève saluer danser personne les deux
    el los las una unos con y hacia derecha derecho izquierda izquierdo mano manos brazo brazos
    pierna cabeza adelante atrás caminar camina correr saltar levantar levanta agitar bailar
    il lo gli della del dello sul alla verso destra destro sinistra sinistro mani braccio braccia
    gamba testa avanti indietro camminare cammina correre saltare alzare alza salutare ballare
    os uma com para direita esquerda direito esquerdo mão mãos braço braços perna cabeça frente
    trás andar pular levantar acenar dançar
    de het een en naar met rechterhand linkerhand vooruit achteruit lopen loopt zwaaien zwaait
    rennen dansen armen benen hoofd la
        """
    )
)
"""Frequent words in German, French, Spanish, Italian, Portuguese and Dutch requests that are not
English words."""
_ENGLISH: Final = frozenset(
    _WORD.findall(
        """
    a an and the of to in into on at by for from with without while then after before over under
    as is are his her their its it he she they someone person human man woman both each other
    left right up down forward forwards backward backwards back side sideways around
    hand hands arm arms leg legs foot feet head body step steps time times
    walk walks walking run runs running jump jumps jumping wave waves waving raise raises raising
    lift lifts turn turns turning sit sits stand stands dance dances dancing kick reach reaches
    pick bend bow crouch throw catch slowly quickly
        """
    )
)


def is_english(text: str) -> bool:
    """Return False if a text has hardly any Latin letters, or several words of another language.

    A single foreign word is accepted, since names of dances and sports are foreign words.
    """
    letters = [c for c in text if c.isalpha()]
    if sum(not c.isascii() for c in letters) > 0.1 * len(letters):
        return False
    words = set(_WORD.findall(text.lower()))
    foreign = len(words & _FOREIGN)
    return foreign < 2 or foreign <= len(words & _ENGLISH)
