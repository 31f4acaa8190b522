"""What languages look like: their scripts, and the small words that most of their sentences have. Plain tables.

Words that are English too (`die`, `was`) say nothing by themselves.
"""

from __future__ import annotations

from typing import Final

SCRIPTS: Final = {
    "CYRILLIC": "ru uk be bg sr mk kk ky mn tg",
    "GREEK": "el",
    "ARABIC": "ar fa ur ps ug",
    "HEBREW": "he yi",
    "CJK": "zh ja",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "BOPOMOFO": "zh",
    "HANGUL": "ko",
    "THAI": "th",
    "DEVANAGARI": "hi mr ne",
    "BENGALI": "bn as",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "SINHALA": "si",
    "KHMER": "km",
    "LAO": "lo",
    "MYANMAR": "my",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "ETHIOPIC": "am ti",
    "TIBETAN": "bo",
}
"""First word of a letter's Unicode name to the languages that are written so; all others are written in Latin."""

SMALL_WORDS: Final = {
    "en": """
        the a an of to and in is are was were be been do does did have has had can could will would should may must
        i you he she it we they me my your his her its our their this that these those there here what which who where
        when why how with for from by on at as or but not no if than then about into out up so any some all please
        don't doesn't isn't can't i'm i've it's what's get make show tell give list find
    """,
    "es": """
        a me no el los las una unos unas del al es está esta están son qué que cómo como cuál cual cuáles dónde donde
        cuándo cuando
        quién cuánto cuánta por para con sin pero muy más mi mis tu sus su yo tú él ella nosotros puedo puede tengo
        tiene hola escribe explica explícame traduce dime dame haz resume quisiera un que como
        hay hacer quiero necesito cuenta tarjeta este eso esa porque también desde hasta sobre
    """,
    "fr": """
        a on me le les une des du au aux est sont être suis qui que quoi quel quelle quels quelles comment où quand
        pourquoi combien
        je tu il elle nous vous ils elles mon ma mes votre vos notre leur ce cette ces dans avec sur sans pour mais très
        bonjour écris explique traduis donne-moi dis-moi résume quelle est-il est-elle un
        puis peut peux peut-on dois faire fait ai avez avoir c'est qu'est-ce n'est j'ai l'on ne pas d'un d'une est-ce
    """,
    "de": """
        die was in an so war hat der das den dem des ein eine einen einem einer ist sind bin war wie wo wann warum
        wieso wer welche welcher
        welches ich du er sie wir ihr mein meine meinen meiner dein deine und oder aber nicht kein keine mit von für auf
        hallo guten schreibe schreib erkläre erklär übersetze nenne mir
        bei nach aus zu zum zur im kann können muss soll wird werden habe haben hat gibt wenn dass als auch sich über es
    """,
    "pt": """
        a o e as do no me os uma umas uns do da dos das no na nos nas é está são que qual quais como onde quando quem
        quanto por porque
        para com sem mas muito mais meu minha meus seu sua eu você ele ela nós posso pode tenho tem fazer não sim isso
        este esta ao pelo pela também
    """,
    "it": """
        a in come me no il lo gli una uno della dello delle degli nel nella è sono che chi cosa come dove quando
        perché quanto quale
        quali con per senza ma molto più mio mia miei tuo tua suo io tu lui lei noi posso può devo ho hai fare non si
        questo questa anche dal dalla sul sulla un di
    """,
    "nl": """
        is in was we het een van voor naar bij uit op is zijn ben hoe wat waar wanneer waarom wie welke ik jij je hij
        zij wij mijn
        jouw niet geen maar ook en of met kan kunnen moet wil heb heeft hebben wordt worden deze dit dat de
    """,
    "vi": """
        xin chào viết giải thích hãy cho tôi
        la gi cua khong toi ban lam nao duoc cho voi trong nhu mot cac nhung va hay tai sao thi cach co the
        là gì của không tôi bạn làm nào được cho với trong như một các những và hãy tại sao thì cách có thể ở đâu
    """,
    "id": """
        yang apa bagaimana saya anda kami kita tidak dengan untuk dari dan ini itu adalah bisa dapat mengapa kapan siapa
        berapa di ke pada akan sudah belum ada jika
    """,
    "pl": """
        jak jest co czy nie się gdzie kiedy dlaczego kto który jaka jaki mój moja moje mam mogę może są na do dla od ale
        oraz przez tego tym ten ta w z i
    """,
    "tr": """
        bir bu ve ne nasıl nerede neden niçin kim hangi kaç için ile ama değil var yok mı mi mu mü ben sen biz benim
        nedir olarak gibi daha çok
    """,  # noqa: RUF001
    "sv": """
        och att det en ett är som på för av med jag du vi hur vad var när varför vem vilken inte min mitt
        mina kan ska har
    """,
    "cs": "je jak co kde kdy proč kdo který jaká jaký moje můj mám můžu se na pro ale nebo není jsou",
    "ro": "este sunt cum unde când cine care cât pentru și sau nu din cu la mea meu pot am să ce",
    "hu": "az egy és hogy hogyan mi hol mikor miért ki melyik nem van az én a is",
    "fi": "on ja ei miten mitä missä milloin miksi kuka mikä minun minä voin voiko ovat olen onko",
    "da": """
        og at det en et er som på for af med jeg du vi hvordan hvad hvor hvornår hvorfor hvem hvilken ikke
        min mit kan skal har
    """,
    "tl": "ang ng sa mga ako ikaw siya ano paano saan kailan bakit sino ba ko mo hindi po",
}
"""By language code."""
