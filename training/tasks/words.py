"""Word lists of the text tasks."""

from typing import NamedTuple


class Language(NamedTuple):
    """One to ten, Monday to Sunday, and three phrases, all in normal form C."""

    numbers: tuple[str, ...]
    days: tuple[str, ...]
    hello: str
    thanks: str
    good_night: str


def language(numbers: str, days: str, *phrases: str) -> Language:
    hello, thanks, good_night = phrases
    return Language(tuple(numbers.split()), tuple(days.split(",")), hello, thanks, good_night)


LANGUAGES = {
    "English": language(
        "one two three four five six seven eight nine ten",
        "Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday",
        "Hello", "Thank you", "Good night",
    ),
    "German": language(
        "eins zwei drei vier fünf sechs sieben acht neun zehn",
        "Montag,Dienstag,Mittwoch,Donnerstag,Freitag,Samstag,Sonntag",
        "Hallo", "Danke", "Gute Nacht",
    ),
    "French": language(
        "un deux trois quatre cinq six sept huit neuf dix",
        "lundi,mardi,mercredi,jeudi,vendredi,samedi,dimanche",
        "Bonjour", "Merci", "Bonne nuit",
    ),
    "Spanish": language(
        "uno dos tres cuatro cinco seis siete ocho nueve diez",
        "lunes,martes,miércoles,jueves,viernes,sábado,domingo",
        "Hola", "Gracias", "Buenas noches",
    ),
    "Italian": language(
        "uno due tre quattro cinque sei sette otto nove dieci",
        "lunedì,martedì,mercoledì,giovedì,venerdì,sabato,domenica",
        "Ciao", "Grazie", "Buona notte",
    ),
    "Portuguese": language(
        "um dois três quatro cinco seis sete oito nove dez",
        "segunda-feira,terça-feira,quarta-feira,quinta-feira,sexta-feira,sábado,domingo",
        "Olá", "Obrigado", "Boa noite",
    ),
    "Dutch": language(
        "een twee drie vier vijf zes zeven acht negen tien",
        "maandag,dinsdag,woensdag,donderdag,vrijdag,zaterdag,zondag",
        "Hallo", "Dank je", "Goedenacht",
    ),
    "Swedish": language(
        "ett två tre fyra fem sex sju åtta nio tio",
        "måndag,tisdag,onsdag,torsdag,fredag,lördag,söndag",
        "Hej", "Tack", "God natt",
    ),
    "Danish": language(
        "en to tre fire fem seks syv otte ni ti",
        "mandag,tirsdag,onsdag,torsdag,fredag,lørdag,søndag",
        "Hej", "Tak", "Godnat",
    ),
    "Finnish": language(
        "yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen",
        "maanantai,tiistai,keskiviikko,torstai,perjantai,lauantai,sunnuntai",
        "Hei", "Kiitos", "Hyvää yötä",
    ),
    "Polish": language(
        "jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć",
        "poniedziałek,wtorek,środa,czwartek,piątek,sobota,niedziela",
        "Cześć", "Dziękuję", "Dobranoc",
    ),
    "Czech": language(
        "jeden dva tři čtyři pět šest sedm osm devět deset",
        "pondělí,úterý,středa,čtvrtek,pátek,sobota,neděle",
        "Ahoj", "Děkuji", "Dobrou noc",
    ),
    "Hungarian": language(
        "egy kettő három négy öt hat hét nyolc kilenc tíz",
        "hétfő,kedd,szerda,csütörtök,péntek,szombat,vasárnap",
        "Szia", "Köszönöm", "Jó éjszakát",
    ),
    "Romanian": language(
        "unu doi trei patru cinci șase șapte opt nouă zece",
        "luni,marți,miercuri,joi,vineri,sâmbătă,duminică",
        "Bună", "Mulțumesc", "Noapte bună",
    ),
    "Turkish": language(
        "bir iki üç dört beş altı yedi sekiz dokuz on",
        "Pazartesi,Salı,Çarşamba,Perşembe,Cuma,Cumartesi,Pazar",
        "Merhaba", "Teşekkürler", "İyi geceler",
    ),
    "Indonesian": language(
        "satu dua tiga empat lima enam tujuh delapan sembilan sepuluh",
        "Senin,Selasa,Rabu,Kamis,Jumat,Sabtu,Minggu",
        "Halo", "Terima kasih", "Selamat malam",
    ),
    "Swahili": language(
        "moja mbili tatu nne tano sita saba nane tisa kumi",
        "Jumatatu,Jumanne,Jumatano,Alhamisi,Ijumaa,Jumamosi,Jumapili",
        "Jambo", "Asante", "Usiku mwema",
    ),
    "Russian": language(
        "один два три четыре пять шесть семь восемь девять десять",
        "понедельник,вторник,среда,четверг,пятница,суббота,воскресенье",
        "Привет", "Спасибо", "Спокойной ночи",
    ),
    "Ukrainian": language(
        "один два три чотири п'ять шість сім вісім дев'ять десять",
        "понеділок,вівторок,середа,четвер,п'ятниця,субота,неділя",
        "Привіт", "Дякую", "На добраніч",
    ),
    "Greek": language(
        "ένα δύο τρία τέσσερα πέντε έξι επτά οκτώ εννέα δέκα",
        "Δευτέρα,Τρίτη,Τετάρτη,Πέμπτη,Παρασκευή,Σάββατο,Κυριακή",
        "Γεια σου", "Ευχαριστώ", "Καληνύχτα",
    ),
    "Arabic": language(
        "واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة",
        "الاثنين,الثلاثاء,الأربعاء,الخميس,الجمعة,السبت,الأحد",
        "مرحبا", "شكرا", "تصبح على خير",
    ),
    "Hebrew": language(
        "אחת שתיים שלוש ארבע חמש שש שבע שמונה תשע עשר",
        "יום שני,יום שלישי,יום רביעי,יום חמישי,יום שישי,שבת,יום ראשון",
        "שלום", "תודה", "לילה טוב",
    ),
    "Hindi": language(
        "एक दो तीन चार पाँच छह सात आठ नौ दस",
        "सोमवार,मंगलवार,बुधवार,गुरुवार,शुक्रवार,शनिवार,रविवार",
        "नमस्ते", "धन्यवाद", "शुभ रात्रि",
    ),
    "Chinese": language(
        "一 二 三 四 五 六 七 八 九 十",
        "星期一,星期二,星期三,星期四,星期五,星期六,星期日",
        "你好", "谢谢", "晚安",
    ),
    "Japanese": language(
        "いち に さん よん ご ろく なな はち きゅう じゅう",
        "月曜日,火曜日,水曜日,木曜日,金曜日,土曜日,日曜日",
        "こんにちは", "ありがとう", "おやすみなさい",
    ),
    "Korean": language(
        "하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 열",
        "월요일,화요일,수요일,목요일,금요일,토요일,일요일",
        "안녕하세요", "감사합니다", "안녕히 주무세요",
    ),
    "Thai": language(
        "หนึ่ง สอง สาม สี่ ห้า หก เจ็ด แปด เก้า สิบ",
        "วันจันทร์,วันอังคาร,วันพุธ,วันพฤหัสบดี,วันศุกร์,วันเสาร์,วันอาทิตย์",
        "สวัสดี", "ขอบคุณ", "ราตรีสวัสดิ์",
    ),
    "Georgian": language(
        "ერთი ორი სამი ოთხი ხუთი ექვსი შვიდი რვა ცხრა ათი",
        "ორშაბათი,სამშაბათი,ოთხშაბათი,ხუთშაბათი,პარასკევი,შაბათი,კვირა",
        "გამარჯობა", "მადლობა", "ღამე მშვიდობისა",
    ),
    "Armenian": language(
        "մեկ երկու երեք չորս հինգ վեց յոթ ութ ինը տասը",
        "երկուշաբթի,երեքշաբթի,չորեքշաբթի,հինգշաբթի,ուրբաթ,շաբաթ,կիրակի",
        "Բարև", "Շնորհակալություն", "Բարի գիշեր",
    ),
}  # fmt: skip


def listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# Left out are words whose letters would keep frequent words of the prompts from being one token ("Athens": "the"); see
# training/merges.py.
NAMES = listed(
    "Ben Carla David Eva Felix Hugo Ida Jonas Karin Leo Maria Nina Oscar Paul Rosa Sam Tina Ugo Vera Yuki Zoe Adam "
    "Chris Dora Emil Fatima George Hana Ivan Julia Kofi Lena Mark Nora Omar Quinn Ravi Sara Tom Uma Wanda Xenia Yusuf "
    "Zara Bruno Clara Diego Elena Frank Iris Kate Luis Mona Noah Olga Rita Simon Amara Bela Carmen Dina Edda Fiona "
    "Gina Hilda Jana Klara Lara Marina Nadia Otto Rafael Selma Tobias Ursula Valeria Mila Kira Tara Dario Igor Boris "
    "Ramon Kamal Aida Mara Malik Pedro"
)
CITIES = listed(
    "Paris Berlin Madrid Oslo Vienna Lisbon Tokyo Lima Quito Sydney Zurich Kyiv Milan Porto Lyon Bonn Munich Geneva "
    "Osaka Bergen Riga Vilnius Sofia Dakar Accra Lagos Hanoi Manila Jakarta Seattle Toronto Bogota Havana Santiago "
    "Tunis Malaga Bari Dubai Kobe Nara Baku Tirana Bilbao Verona Modena Parma Pisa Siena Minsk Muscat Luanda Kigali "
    "Dodoma Maputo Lusaka Harare Santos Natal Panama Merida Tijuana Toledo Topeka Fargo Tulsa Tucson"
)
COLOURS = ("red", "green", "blue", "yellow", "silver", "purple", "black", "white", "brown", "pink", "grey")
ANIMALS = ("cat", "dog", "fish", "horse", "rabbit", "parrot", "turtle", "mouse", "goat", "hamster")
NOUNS = listed(
    "pear lamp moon sun table wolf boat bridge road lake bird farmer train market kitchen piano basket candle bottle "
    "hammer blanket banana potato tomato lemon melon carpet robot barn belt bus cart corn desk fan farm flag gate "
    "guitar jar lion magnet marble palm panda petal pilot pirate radio ribbon sand sail salad sofa spoon tulip tunnel "
    "violin wagon canal tablet sandal"
)
ADJECTIVES = listed("rich large dark warm plain broken clean modern elegant solid vivid fancy lazy damp rapid")
JOBS = ("teacher", "doctor", "baker", "farmer", "pilot", "nurse", "painter", "driver", "cook", "gardener")
HOBBIES = ("chess", "music", "tennis", "reading", "cooking", "running", "skiing", "dancing", "fishing", "drawing")
# Letters that made-up words can have, and that the shipped tokenizer spells as one token because other words have them
# often, while fewer than one made-up word in 400 would by chance.
JOINED_ELSEWHERE = listed(
    "age an ap apan arame as at ater bak baker bed begin ber bit but dag dan del dem den enum ep even fem fin fog for "
    "ful gar ger get gin giv give gives in inese is it ked kore labe label lat late later lator level like lim limit "
    "liv live lives man mar meni min minus model more move moved musi name ned never nit not note obota one ones ope "
    "open opera pat pazar pened put pute rab rabi rated rati red redag rem reme remem ren res resu resul ret rite "
    "river rom sad sage sat satu set sil sim size so some son sum sun tag take ted tek ten tep ter tesi tiger time "
    "times tired ton tur unit user utes val vel ver vide zar"
)
COPIED = NAMES + CITIES + NOUNS + ADJECTIVES  # words that answers take over from the prompt
# What long texts are about; nothing asks for it.
SCENERY = listed(
    "book cloud flower hill house king letter mountain needle pillow river ship stone tiger tower tree window cactus "
    "camel comet boot opera pencil"
)
QUALITIES = listed("bitter bright happy heavy loud quick quiet round slow small strange tall tired wooden young")
