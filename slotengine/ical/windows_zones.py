"""The time zone names of Windows, and their zones in the tz database.

The names are those of the Unicode CLDR (``windowsZones``, territory 001), some names that
older versions of Windows used, and the English labels in Windows and Exchange that are
not cities of the tz database.
"""

from __future__ import annotations

from typing import Final

_NAMES: Final = """\
AUS Central Standard Time|Australia/Darwin
AUS Eastern Standard Time|Australia/Sydney
Afghanistan Standard Time|Asia/Kabul
Alaskan Standard Time|America/Anchorage
Aleutian Standard Time|America/Adak
Altai Standard Time|Asia/Barnaul
Arab Standard Time|Asia/Riyadh
Arabian Standard Time|Asia/Dubai
Arabic Standard Time|Asia/Baghdad
Argentina Standard Time|America/Buenos_Aires
Armenian Standard Time|Asia/Yerevan
Astrakhan Standard Time|Europe/Astrakhan
Atlantic Standard Time|America/Halifax
Aus Central W. Standard Time|Australia/Eucla
Azerbaijan Standard Time|Asia/Baku
Azores Standard Time|Atlantic/Azores
Bahia Standard Time|America/Bahia
Bangladesh Standard Time|Asia/Dhaka
Belarus Standard Time|Europe/Minsk
Bougainville Standard Time|Pacific/Bougainville
Canada Central Standard Time|America/Regina
Cape Verde Standard Time|Atlantic/Cape_Verde
Caucasus Standard Time|Asia/Yerevan
Cen. Australia Standard Time|Australia/Adelaide
Central America Standard Time|America/Guatemala
Central Asia Standard Time|Asia/Bishkek
Central Brazilian Standard Time|America/Cuiaba
Central Europe Standard Time|Europe/Budapest
Central European Standard Time|Europe/Warsaw
Central Pacific Standard Time|Pacific/Guadalcanal
Central Standard Time|America/Chicago
Central Standard Time (Mexico)|America/Mexico_City
Chatham Islands Standard Time|Pacific/Chatham
China Standard Time|Asia/Shanghai
Cuba Standard Time|America/Havana
Dateline Standard Time|Etc/GMT+12
E. Africa Standard Time|Africa/Nairobi
E. Australia Standard Time|Australia/Brisbane
E. Europe Standard Time|Europe/Chisinau
E. South America Standard Time|America/Sao_Paulo
Easter Island Standard Time|Pacific/Easter
Eastern Standard Time|America/New_York
Eastern Standard Time (Mexico)|America/Cancun
Egypt Standard Time|Africa/Cairo
Ekaterinburg Standard Time|Asia/Yekaterinburg
FLE Standard Time|Europe/Kyiv
Fiji Standard Time|Pacific/Fiji
GMT Standard Time|Europe/London
GTB Standard Time|Europe/Bucharest
Georgian Standard Time|Asia/Tbilisi
Greenland Standard Time|America/Nuuk
Greenwich Standard Time|Atlantic/Reykjavik
Haiti Standard Time|America/Port-au-Prince
Hawaiian Standard Time|Pacific/Honolulu
India Standard Time|Asia/Kolkata
Iran Standard Time|Asia/Tehran
Israel Standard Time|Asia/Jerusalem
Jordan Standard Time|Asia/Amman
Kaliningrad Standard Time|Europe/Kaliningrad
Kamchatka Standard Time|Asia/Kamchatka
Korea Standard Time|Asia/Seoul
Libya Standard Time|Africa/Tripoli
Line Islands Standard Time|Pacific/Kiritimati
Lord Howe Standard Time|Australia/Lord_Howe
Magadan Standard Time|Asia/Magadan
Magallanes Standard Time|America/Punta_Arenas
Marquesas Standard Time|Pacific/Marquesas
Mauritius Standard Time|Indian/Mauritius
Mexico Standard Time|America/Mexico_City
Mexico Standard Time 2|America/Chihuahua
Mid-Atlantic Standard Time|Etc/GMT+2
Middle East Standard Time|Asia/Beirut
Montevideo Standard Time|America/Montevideo
Morocco Standard Time|Africa/Casablanca
Mountain Standard Time|America/Denver
Mountain Standard Time (Mexico)|America/Mazatlan
Myanmar Standard Time|Asia/Yangon
N. Central Asia Standard Time|Asia/Novosibirsk
Namibia Standard Time|Africa/Windhoek
Nepal Standard Time|Asia/Kathmandu
New Zealand Standard Time|Pacific/Auckland
Newfoundland Standard Time|America/St_Johns
Norfolk Standard Time|Pacific/Norfolk
North Asia East Standard Time|Asia/Irkutsk
North Asia Standard Time|Asia/Krasnoyarsk
North Korea Standard Time|Asia/Pyongyang
Omsk Standard Time|Asia/Omsk
Pacific SA Standard Time|America/Santiago
Pacific Standard Time|America/Los_Angeles
Pacific Standard Time (Mexico)|America/Tijuana
Pakistan Standard Time|Asia/Karachi
Paraguay Standard Time|America/Asuncion
Qyzylorda Standard Time|Asia/Qyzylorda
Romance Standard Time|Europe/Paris
Russia Time Zone 10|Asia/Srednekolymsk
Russia Time Zone 11|Asia/Kamchatka
Russia Time Zone 3|Europe/Samara
Russian Standard Time|Europe/Moscow
SA Eastern Standard Time|America/Cayenne
SA Pacific Standard Time|America/Bogota
SA Western Standard Time|America/La_Paz
SE Asia Standard Time|Asia/Bangkok
Saint Pierre Standard Time|America/Miquelon
Sakhalin Standard Time|Asia/Sakhalin
Samoa Standard Time|Pacific/Apia
Sao Tome Standard Time|Africa/Sao_Tome
Saratov Standard Time|Europe/Saratov
Singapore Standard Time|Asia/Singapore
South Africa Standard Time|Africa/Johannesburg
South Sudan Standard Time|Africa/Juba
Sri Lanka Standard Time|Asia/Colombo
Sudan Standard Time|Africa/Khartoum
Syria Standard Time|Asia/Damascus
Taipei Standard Time|Asia/Taipei
Tasmania Standard Time|Australia/Hobart
Tocantins Standard Time|America/Araguaina
Tokyo Standard Time|Asia/Tokyo
Tomsk Standard Time|Asia/Tomsk
Tonga Standard Time|Pacific/Tongatapu
Transbaikal Standard Time|Asia/Chita
Turkey Standard Time|Europe/Istanbul
Turks And Caicos Standard Time|America/Grand_Turk
US Eastern Standard Time|America/Indiana/Indianapolis
US Mountain Standard Time|America/Phoenix
Ulaanbaatar Standard Time|Asia/Ulaanbaatar
Venezuela Standard Time|America/Caracas
Vladivostok Standard Time|Asia/Vladivostok
Volgograd Standard Time|Europe/Volgograd
W. Australia Standard Time|Australia/Perth
W. Central Africa Standard Time|Africa/Lagos
W. Europe Standard Time|Europe/Berlin
W. Mongolia Standard Time|Asia/Hovd
West Asia Standard Time|Asia/Tashkent
West Bank Standard Time|Asia/Hebron
West Pacific Standard Time|Pacific/Port_Moresby
Yakutsk Standard Time|Asia/Yakutsk
Yukon Standard Time|America/Whitehorse
"""

_LABELS: Final = """\
abu dhabi|Asia/Dubai
alaska|America/Anchorage
aleutian islands|America/Adak
arizona|America/Phoenix
astana|Asia/Almaty
atlantic time (canada)|America/Halifax
azores|Atlantic/Azores
baja california|America/Tijuana
beijing|Asia/Shanghai
beirut|Asia/Beirut
bern|Europe/Zurich
bougainville island|Pacific/Bougainville
brasilia|America/Sao_Paulo
cabo verde is.|Atlantic/Cape_Verde
canberra|Australia/Sydney
cape verde is.|Atlantic/Cape_Verde
central america|America/Guatemala
central european time|Europe/Berlin
central time (us and canada)|America/Chicago
chatham islands|Pacific/Chatham
chennai|Asia/Kolkata
chetumal|America/Cancun
chisinau|Europe/Chisinau
chokurdakh|Asia/Srednekolymsk
city of buenos aires|America/Argentina/Buenos_Aires
coordinated universal time|UTC
dateline time|Etc/GMT+12
east africa|Africa/Nairobi
easter island|Pacific/Easter
eastern european time|Europe/Helsinki
eastern time (us and canada)|America/New_York
edinburgh|Europe/London
ekaterinburg|Asia/Yekaterinburg
gaza|Asia/Gaza
georgetown|America/Guyana
greenland|America/Nuuk
greenwich mean time|Europe/London
haiti|America/Port-au-Prince
hanoi|Asia/Bangkok
hawaii|Pacific/Honolulu
hebron|Asia/Hebron
indiana (east)|America/Indiana/Indianapolis
international date line west|Etc/GMT+12
islamabad|Asia/Karachi
izhevsk|Europe/Samara
jerusalem|Asia/Jerusalem
kiritimati island|Pacific/Kiritimati
kuwait|Asia/Kuwait
la paz|America/La_Paz
marquesas islands|Pacific/Marquesas
mid-atlantic|Etc/GMT+2
midway island|Pacific/Midway
mountain time (us and canada)|America/Denver
mumbai|Asia/Kolkata
nairobi|Africa/Nairobi
new caledonia|Pacific/Noumea
new delhi|Asia/Kolkata
newfoundland|America/St_Johns
nuku'alofa|Pacific/Tongatapu
osaka|Asia/Tokyo
pacific time (us and canada)|America/Los_Angeles
petropavlovsk-kamchatsky|Asia/Kamchatka
port louis|Indian/Mauritius
prague|Europe/Prague
pretoria|Africa/Johannesburg
quito|America/Guayaquil
saint pierre and miquelon|America/Miquelon
salvador|America/Bahia
samoa|Pacific/Apia
sapporo|Asia/Tokyo
saskatchewan|America/Regina
solomon is.|Pacific/Guadalcanal
sri jayawardenepura|Asia/Colombo
st. petersburg|Europe/Moscow
tasmania|Australia/Hobart
turks and caicos|America/Grand_Turk
ulaan bataar|Asia/Ulaanbaatar
universal coordinated time|UTC
wellington|Pacific/Auckland
west central africa|Africa/Lagos
western european time|Europe/Lisbon
yangon (rangoon)|Asia/Yangon
yukon|America/Whitehorse
"""


def _table(text: str) -> dict[str, str]:
    pairs = (line.split("|") for line in text.splitlines())
    return {name.lower(): zone for name, zone in pairs}


ZONES_BY_NAME: Final = _table(_NAMES)
"""The zone of each name, in lower case."""
ZONES_BY_LABEL: Final = _table(_LABELS)
"""The zone of each label that is shown instead of a name, in lower case."""
