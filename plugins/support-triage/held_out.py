"""The words of the messages that are examined with, none of them trained on."""

from phrases import Phrases, lines, words

HELD_OUT = Phrases(
    first_names=words(
        "Adele Boris Camille Dario Edith Fabian Greta Hugo Irina Jasper Kenji Leila Marcus Nina Otto Priya Ralph Sofia "
        "Tobias Una Vincent Wanda Yvonne Zachary Bridget Conrad Esther Ivo Maren Rafael"
    ),
    last_names=words(
        "Abbott Bauer Chen Delgado Engel Fontaine Grant Hansen Iqbal Jacobs Keller Lindgren Murphy Nilsson Osman Pereira "
        "Roth Sato Thompson Ulrich Vasquez Winter Yamada Ziegler Barnes Castillo Dvorak Fleming Horvat Kimura"
    ),
    products=("hiking boots", "tent", "rain coat", "bookshelf", "toaster", "drill", "sofa", "pillow"),
    devices=("toaster", "blender", "e-book reader", "microphone", "fitness tracker", "speaker"),
    plans=("magazine", "audio book club", "antivirus licence", "wine club"),
    greetings=("Good day,", "Hi there,", "Dear Sir or Madam,", "Good afternoon,"),
    introductions=("I'm called {sender}.", "You are reading a message by {sender}.", "Name: {sender}.", "It's {sender} writing."),
    farewells=("Kind regards, {sender}", "Cheers, {sender}", "Many thanks in advance, {sender}", "Sincerely {sender}", "Signed: {sender}"),
    problems={
        "billing": lines(
            """
            Two identical charges for one {product} turned up on my Visa card.
            Your accounting wants {amount} from me a second time.
            I can't make sense of the positions on this month's invoice.
            My employer needs a proper invoice with our company name on it.
            The subscription fee went up to {amount} overnight, is that a mistake in the bill?
            A voucher of mine should have lowered the bill but was ignored.
            I got dunned over an invoice although the money was wired to you.
            PayPal refuses the payment every time I try to settle my bill.
            """
        ),
        "delivery": lines(
            """
            My {product} still hasn't turned up at my house.
            The postman threw my parcel over the fence and it is gone.
            It was meant to be here on {date}, yet no courier has rung.
            Track and trace shows no movement of my package at all.
            Somebody else in my street got the box that was meant for me.
            Could you redirect the shipment to my workplace?
            One of the two parcels is lost somewhere on the way.
            When will the {product} finally be shipped to me?
            """
        ),
        "returns": lines(
            """
            The {product} is too small, how do I return it?
            I'd like to exchange my {product} for one in blue.
            The {product} went to your warehouse again by post and nobody has refunded me.
            Is it still possible to send back a {product} that has been opened?
            Kindly mail me a label so that I can ship the {product} back.
            We kept the receipt and want a refund, the {product} doesn't suit us.
            The returned {product} reached you on {date}, so where is my {amount}?
            Within thirty days, may one trade the {product} in for a bigger one?
            """
        ),
        "account access": lines(
            """
            Signing in fails, your page says wrong password.
            I've been locked out of my customer account.
            No reset e-mail reaches me, so I can't choose a new password.
            Since {date} I cannot get into my profile.
            The six-digit login code by text message never arrives.
            Another person seems to have taken over my login.
            My user account has been suspended and I can't log on.
            I don't remember which e-mail I registered with and can't log in.
            """
        ),
        "technical fault": lines(
            """
            My {device} is dead, no light comes on.
            Whenever I press start, the {device} shuts down again.
            Your app closes by itself as soon as I tap on settings.
            The {device} won't pair with my phone over Bluetooth.
            The newest firmware has made the {device} unusable.
            An error code E42 appears on the display of the {device}.
            The {device} rattles and smells burnt.
            Pages of your web shop load forever and then give an error.
            """
        ),
        "cancellation": lines(
            """
            I wish to give notice on my subscription.
            Kindly cancel the {product} I ordered, it hasn't left your warehouse.
            My contract shall end on {date}, please acknowledge.
            Take me off the premium plan, I don't want to be a member any longer.
            I'd like to opt out before the free trial turns into a paid plan.
            Please annul order {order}, I found the {product} elsewhere.
            How do I get out of the yearly contract?
            We no longer need the {plan} subscription, so discontinue it.
            """
        ),
    },
    both=(
        "The purchase of {date} came to {amount}.",
        "You received {amount} from me on {date}.",
        "For the record: {amount}, {date}.",
        "On {date} I spent {amount} with you.",
    ),
    dates=("This began on {date}.", "We are talking about {date}.", "My contract started on {date}."),
    amounts=("The sum is {amount}.", "That was {amount} of my money.", "Its value is {amount}."),
    invented=0.0,
    given=0.88,
    asides=("Ticket {order}.", "My husband {other} has the same problem.", "A lady named {other} promised to call me.", "File no. {order}."),
    requests=("Get back to me, please.", "How do we proceed?", "I hope you can sort this out.", "Let me know.", "I'm losing patience."),
)
