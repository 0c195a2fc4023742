/*
name: level_is_too_long
title: A predicate of more than 2,000 bytes
tier: network
unit: count
owner: platform
levels:
  warning: value > 100 OR value = 0 OR value = 1 OR value = 2 OR value = 3 OR value = 4 OR value = 5 OR value = 6 OR value = 7 OR value = 8 OR value = 9 OR value = 10 OR value = 11 OR value = 12 OR value = 13 OR value = 14 OR value = 15 OR value = 16 OR value = 17 OR value = 18 OR value = 19 OR value = 20 OR value = 21 OR value = 22 OR value = 23 OR value = 24 OR value = 25 OR value = 26 OR value = 27 OR value = 28 OR value = 29 OR value = 30 OR value = 31 OR value = 32 OR value = 33 OR value = 34 OR value = 35 OR value = 36 OR value = 37 OR value = 38 OR value = 39 OR value = 40 OR value = 41 OR value = 42 OR value = 43 OR value = 44 OR value = 45 OR value = 46 OR value = 47 OR value = 48 OR value = 49 OR value = 50 OR value = 51 OR value = 52 OR value = 53 OR value = 54 OR value = 55 OR value = 56 OR value = 57 OR value = 58 OR value = 59 OR value = 60 OR value = 61 OR value = 62 OR value = 63 OR value = 64 OR value = 65 OR value = 66 OR value = 67 OR value = 68 OR value = 69 OR value = 70 OR value = 71 OR value = 72 OR value = 73 OR value = 74 OR value = 75 OR value = 76 OR value = 77 OR value = 78 OR value = 79 OR value = 80 OR value = 81 OR value = 82 OR value = 83 OR value = 84 OR value = 85 OR value = 86 OR value = 87 OR value = 88 OR value = 89 OR value = 90 OR value = 91 OR value = 92 OR value = 93 OR value = 94 OR value = 95 OR value = 96 OR value = 97 OR value = 98 OR value = 99 OR value = 100 OR value = 101 OR value = 102 OR value = 103 OR value = 104 OR value = 105 OR value = 106 OR value = 107 OR value = 108 OR value = 109 OR value = 110 OR value = 111 OR value = 112 OR value = 113 OR value = 114 OR value = 115 OR value = 116 OR value = 117 OR value = 118 OR value = 119 OR value = 120 OR value = 121 OR value = 122 OR value = 123 OR value = 124 OR value = 125 OR value = 126 OR value = 127 OR value = 128 OR value = 129 OR value = 130 OR value = 131 OR value = 132 OR value = 133 OR value = 134 OR value = 135 OR value = 136 OR value = 137 OR value = 138 OR value = 139 OR value = 140 OR value = 141 OR value = 142 OR value = 143 OR value = 144 OR value = 145 OR value = 146 OR value = 147 OR value = 148 OR value = 149
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
