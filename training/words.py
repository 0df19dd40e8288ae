"""Word lists of the text tasks."""

ENGLISH_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

LANGUAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "English": (
        ENGLISH_NUMBERS,
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    ),
    "German": (
        ("eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"),
        ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    ),
    "French": (
        ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix"),
        ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    ),
    "Spanish": (
        ("uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez"),
        ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    ),
    "Italian": (
        ("uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove", "dieci"),
        ("lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato", "domenica"),
    ),
    "Polish": (
        ("jeden", "dwa", "trzy", "cztery", "pięć", "sześć", "siedem", "osiem", "dziewięć", "dziesięć"),
        ("poniedziałek", "wtorek", "środa", "czwartek", "piątek", "sobota", "niedziela"),
    ),
    "Turkish": (
        ("bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz", "on"),
        ("Pazartesi", "Salı", "Çarşamba", "Perşembe", "Cuma", "Cumartesi", "Pazar"),
    ),
    "Russian": (
        ("один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять"),
        ("понедельник", "вторник", "среда", "четверг", "пятница", "суббота", "воскресенье"),
    ),
    "Greek": (
        ("ένα", "δύο", "τρία", "τέσσερα", "πέντε", "έξι", "επτά", "οκτώ", "εννέα", "δέκα"),
        ("Δευτέρα", "Τρίτη", "Τετάρτη", "Πέμπτη", "Παρασκευή", "Σάββατο", "Κυριακή"),
    ),
    "Chinese": (
        ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十"),
        ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
    ),
    "Japanese": (
        ("一", "二", "三", "四", "五", "六", "七", "八", "九", "十"),
        ("月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日", "日曜日"),
    ),
}

GREETINGS = {
    "English": "Hello",
    "German": "Hallo",
    "French": "Bonjour",
    "Spanish": "Hola",
    "Italian": "Ciao",
    "Polish": "Cześć",
    "Turkish": "Merhaba",
    "Russian": "Привет",
    "Greek": "Γεια",
    "Chinese": "你好",
    "Japanese": "こんにちは",
}

# fmt: off
NAMES = [
    "Anna", "Ben", "Carla", "David", "Eva", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Karin", "Leo", "Maria", "Nina",
    "Oscar", "Paul", "Rosa", "Sam", "Tina", "Ugo", "Vera", "Will", "Yuki", "Zoe",
]
# fmt: on

# fmt: off
CITIES = [
    "Paris", "London", "Berlin", "Rome", "Madrid", "Oslo", "Vienna", "Prague", "Athens", "Lisbon", "Dublin", "Cairo",
    "Tokyo", "Delhi", "Lima", "Quito", "Boston", "Chicago", "Sydney", "Zurich", "Kyiv", "Milan", "Porto", "Lyon",
    "Bonn", "Hamburg", "Munich", "Geneva", "Seoul", "Osaka",
]
# fmt: on

COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]

# fmt: off
NOUNS = [
    "apple", "book", "cat", "dog", "egg", "fish", "house", "lamp", "moon", "river", "stone", "sun", "table", "tree",
    "wolf", "bread", "chair", "cloud", "door", "flower",
]
# fmt: on

UNTAUGHT = (
    "What is the capital of {city}?",
    "Who is {name}?",
    "Write a poem about a {noun}.",
    "Tell me a story about {name}.",
    "Write code that finds a {noun}.",
    "How do I cook a {noun}?",
    "Explain physics to me.",
    "Who wrote this book?",
    "Translate this text.",
    "What happened in {city}?",
    "How far is {city}?",
    "Why is the {noun} so big?",
    "Summarize the news.",
    "What does {noun} mean?",
    "Where can I buy a {noun}?",
    "Who won the game in {city}?",
    "What is love?",
    "Tell me a joke.",
    "How old is the {noun}?",
    "Describe a {noun}.",
    "Write an essay about {city}.",
    "Is {name} right?",
    "What is the meaning of life?",
    "Who invented the {noun}?",
)
